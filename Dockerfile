FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock ./
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY migrations migrations
# Bytecode by hash: a builder that changes the times of copied files would make every start, and so
# every health check, compile everything anew.
RUN /opt/venv/bin/pip install --no-deps . && \
    /opt/venv/bin/python -m compileall -qf --invalidation-mode unchecked-hash /opt/venv/lib

FROM python:3.13-slim
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    WORKER_DATABASE_URL=/data/videos.db WORKER_GRACE_SECONDS=8
RUN useradd --system --uid 10001 --home-dir /data worker && install -d -o worker -g worker /data
USER worker
WORKDIR /data
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=1 CMD ["valossa-ingest", "health"]
ENTRYPOINT ["valossa-ingest"]
CMD ["run"]
