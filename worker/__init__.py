"""Map of valossa-ingest, which empties a table of video URLs into the Valossa Core API.

Imports go strictly down this list; ``lint-imports`` holds that. The evening path is what one answer
passes through. Read it in this order; enter every other room when the work leads there.

evening path
  core/model, core/request       the values: a video, its claim, its outcome, its request
  core/classify, core/decide     an answer as an outcome, an outcome as the row's next state
  core/breaker                   outcomes so far: go on, cool down, probe, stop
  core/run_state                 a run as its own decisions see it
  core/stop_conditions           a run's state and options as its end, or none yet
  runner/loop, runner/attempts   the claim loop; one claim and its one POST
  runner/writer                  the one task that writes
  runner/transaction             one transaction: settle, expire, claim
  store/queue, store/settle      the SQL of claiming and of settling
  api/                           client: one exchange with the API; transport: its bytes

rooms
  cli/         commands, signals, exit codes: to change what a person types or reads
  notify/      what is told beside a run: lookout, systemd, senders
  web/         the page of a queue, its health and its metrics: app, pages, actions, board, asking,
               rendering, safety, server, metrics, callbacks
  opening      a queue's database opened, made or migrated before work begins
  snapshot     a queue's numbers, pace and workers in one read, with the verdict on them
  story        one video's row, what happens to it next, its history and its request
  wiring       settings into running parts; the only reader of clocks and dice
  runner/      one run: loop, attempts, heartbeat, reconciler, follower, fetcher, uploader, pruner,
               writer, limiter, transaction, reporter, pacer, verdicts, result_files, model
  relocate     moves a queue to another database
  store/       the only SQL: queue, settle, history, leases, shared_state, caps, doubts, audit,
               search, changes, imports, holders, jobs, job_numbers, results, bulk, statistics,
               timeline, reasons, workers, relocation, pruning, rehearsal, hosts, uploads, transfers
  api/         the client of the Valossa Core API: client, transport, uploads
  files/       local files, opened safely and as people name them: roots, looking, typed
  formats/     CSV and JSON Lines as rows
  db/          a queue's database: database, address, place, schema, column_types, sqlite,
               postgres, postgres_listener, postgres_errors, blockers, statements, batch, migrate
  settings     every setting, frozen; settings_sources: flags, environment and file as settings
  log          how events look, and the list of their names
  clock        time as an argument
  core/        the decisions, pure: model, request, link, signed_link, classify, decide, backoff,
               reasons, host, breaker, pace, run_state, stop_conditions, import_row, job_list,
               list_reader, results, evidence, following, verdict, progress, notices, audit,
               advice, preflight, redact, moments, plain_text, relocation, pruning, callback,
               file_address, upload, transfer
  simulator/   the imitation of the API, the judge of the tests: it shares no code with the rest
"""

__version__ = "0.1.0"
