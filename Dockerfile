FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/rewardpost
COPY requirements.lock ./
RUN /opt/rewardpost/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY rewardpost rewardpost
COPY ingest ingest
COPY worker worker
COPY cli cli
RUN /opt/rewardpost/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps . \
    && /opt/rewardpost/bin/pip uninstall --yes --quiet pip setuptools

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="rewardpost" \
      org.opencontainers.image.description="Takes Voucherify's webhooks in and gets each reward to its customer once" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --system --gid 10001 rewardpost \
    && useradd --system --uid 10001 --gid rewardpost --no-create-home --shell /usr/sbin/nologin rewardpost
COPY --from=build /opt/rewardpost /opt/rewardpost
ENV PATH=/opt/rewardpost/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER rewardpost
WORKDIR /tmp
EXPOSE 8080 9090
# The door by default; a worker is started with `python -m worker`.
CMD ["python", "-m", "ingest"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-m", "rewardpost.healthcheck", "http://127.0.0.1:8080/livez"]
