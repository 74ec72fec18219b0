# The container image of docs/pods.md. For CPUs:
#   docker build -t clipjax .
# for NVIDIA GPUs and for TPUs:
#   docker build -t clipjax --build-arg JAX=cuda12 .
#   docker build -t clipjax --build-arg JAX=tpu .
FROM python:3.12-slim
ARG JAX=""
COPY . /src
# Versions are bounded by pyproject.toml; JAX's extras and the drivers of buckets follow the newest.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir /src "jax${JAX:+[$JAX]}" gcsfs s3fs && rm -rf /src
# An own user, and a cache that it may write. By its number, so that Kubernetes sees that it is not root.
RUN useradd --create-home --uid 1000 clipjax && mkdir /cache && chown clipjax /cache
USER 1000
ENV CLIPJAX_CACHE=/cache
# No shell in between: SIGTERM reaches the program.
ENTRYPOINT []
CMD ["clipjax", "--help"]
