"""valossa-ingest: empties a table of video URLs into the Valossa Core API.

No video is lost, none is bought twice, and where nobody can know, it says so. Read it downwards;
imports go the other way, and ``lint-imports`` checks that.

core/          the decisions, pure: values in, values out
  model        the nouns: a video, a claim, what an attempt ends in, what happens to the row
  request      a video as the JSON of new_job, or what is wrong with it
  link         when a signed link ends
  classify     the facts of one exchange as an outcome: the table of what an answer means
  decide       a claim and its outcome as a transition; backoff: how long it waits
  breaker      outcomes so far: go on, cool down, probe, stop
  pace         when starts may happen, how a 429 slows them, how both follow a clock that is set
  moved        the mark of a queue that is worked on elsewhere
  intake       a row of somebody's file as a row of ours
  listing      what a list of jobs shows; evidence: what it proves about a doubt; audit: what
               does not fit between it and the table
  redact       what may be shown at all; remedy: what helps
tables         what is stored; clock: time as an argument; address: where a database is;
               wire: one HTTP request on one connection
sqlite         an engine for a file; threaded: its connections
postgres       an engine for a server; listening: what it says by itself; sqlstate: what its errors
               mean
db             a queue's database; prepared: a statement compiled once; settings, log; migrate: the
               way to the schema
store/         the only SQL: batch, queue, expiry, settle, account, caps, evidence, audit,
               insertion, intake, counts, desk, overview, changes, fleet, moving
formats        CSV and JSON Lines as rows
api            one exchange with the API; gate: slots and starts
judgement      what one transaction of reconciliation does
terms          what a transaction of the queue takes and gives, as values
pacing         everybody's pace, as a transaction finds it and leaves it
turn           what one transaction of the queue does
orders         what a run is told to do; chronicle: what people get to know of it
ledger         the one writing task
attempts       one claim, one POST
moving         a queue on its way to another database
presence       tells the others that this run is alive
reconciler     one question for the list of jobs, when doubts are worth it
closing        whether a run is over, and why
runner         the loop: run and drain are one
wiring         settings into running parts
opening        a queue's database, opened to be worked on, looked at, made or moved
simulator/     the imitation of the API: it shares no code with what it judges
cli/           commands, signals, exit codes
"""

__version__ = "0.1.0"
