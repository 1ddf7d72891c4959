# The service, with the kernels compiled: it starts with a root that cannot be written.
FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY dedup dedup
COPY service service
RUN python -m venv /opt/dedup \
 && /opt/dedup/bin/pip install --no-cache-dir '.[service,postgres,formats,telemetry]'
ENV NUMBA_CACHE_DIR=/opt/dedup/kernels
# The same for every x86-64 or ARM machine, wherever the image is built.
ENV NUMBA_CPU_NAME=generic
RUN /opt/dedup/bin/python -c "from service.workers import warm_up; warm_up(index=True)"

FROM python:3.13-slim
RUN groupadd --gid 10001 dedup && useradd --uid 10001 --gid dedup --no-create-home dedup \
 && install --directory --owner=dedup --group=dedup /data
COPY --from=build /opt/dedup /opt/dedup
ENV PATH=/opt/dedup/bin:$PATH NUMBA_CACHE_DIR=/opt/dedup/kernels NUMBA_CPU_NAME=generic \
    PYTHONUNBUFFERED=1 DEDUP_DATA=/data DEDUP_PORT=8000
USER dedup
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD \
  ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"DEDUP_PORT\"]}/readyz', timeout=4)"]
# Keys are given with it: --host 0.0.0.0 --keys FILE.
ENTRYPOINT ["dedup", "serve"]
CMD ["--index", "/data"]
