# Driftline: workers, relay, commands and the retraining consumer in one image; which of them runs is the command's choice,
# and so is the health check (see docker-compose.yml). Nothing is compiled: every package comes as a wheel.
#
# The digest is that of the tag's index for all architectures; change both together.
ARG PYTHON=python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

COPY requirements.lock requirements-dev.lock ./
RUN python -m venv /opt/driftline \
    && /opt/driftline/bin/pip install --require-hashes --no-deps --only-binary=:all: -r requirements.lock

# What makes our own wheel is locked with the tools of development; it stays behind in this stage.
RUN awk '/^[^ #]/ {keep = /^setuptools==/} keep' requirements-dev.lock > build.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --no-deps --only-binary=:all: -r build.lock

COPY pyproject.toml README.md ./
COPY driftline driftline
COPY streams streams
COPY detectors detectors
COPY labels_join labels_join
COPY retraining retraining
COPY alerts alerts
COPY dashboards dashboards
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
    && /opt/driftline/bin/pip install --no-deps --no-index /wheels/driftline-*.whl \
    && /opt/driftline/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON}
RUN python -m pip uninstall --yes --root-user-action=ignore pip setuptools wheel \
    && groupadd --system --gid 10001 driftline \
    && useradd --system --uid 10001 --gid driftline --no-create-home --shell /usr/sbin/nologin driftline \
    && install --directory --owner=driftline --group=driftline /var/lib/driftline /var/lib/reference /srv/provisioning \
    && install --directory /etc/driftline
COPY --from=build /opt/driftline /opt/driftline
ENV PATH=/opt/driftline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
# Where monitor.yaml is looked for.
WORKDIR /etc/driftline
CMD ["driftline", "--help"]
