# The training job as an image.
#   make image                  # for GPUs; VARIANT=cpu for a machine without
#   docker run --gpus all -v "$PWD/runs:/runs" --user "$(id -u):$(id -g)" \
#     vae-trainer --epochs=1
# It writes to /runs (jobs, and the data set it downloads) and to /tmp (bucket
# staging, caches), and nowhere else: --read-only works.
#
# By digest, so that two builds begin alike. Renew: docker buildx imagetools
# inspect python:3.11-slim-bookworm
ARG BASE_IMAGE=docker.io/library/python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE_IMAGE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY requirements/build.txt /
# pip stays here: the environment that is shipped has none.
RUN python3 -m venv /tools \
    && /tools/bin/pip install --require-hashes --requirement /build.txt \
    && python3 -m venv --without-pip /opt/venv

# This layer stays until a requirement changes.
FROM tools AS dependencies
ARG VARIANT=gpu
COPY requirements/image-${VARIANT}.txt /requirements.txt
RUN /tools/bin/pip --python /opt/venv/bin/python install \
    --require-hashes --requirement /requirements.txt

# Below a root of its own, so that a new version of the trainer is a layer of
# some kilobytes on the gigabytes of TensorFlow.
FROM tools AS package
COPY . .
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /tools/bin/pip --python /opt/venv/bin/python install --no-deps \
        --no-warn-script-location --root /package /wheels/*.whl \
    && cp -r configs /package

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="vae-trainer" \
      org.opencontainers.image.description="A training job for variational autoencoders" \
      org.opencontainers.image.licenses="Apache-2.0"
# Any user may write to /runs, since a job may run as any: one with files of
# its own in a bind mount, or one that Kubernetes or OpenShift gives it. A new
# named volume takes the mode over.
RUN mkdir --mode=1777 /runs
# Google's clusters mount the NVIDIA driver in that folder, and leave it to the
# image to look there. HOME: an arbitrary user has none, and writes caches. The
# data set is kept beside the jobs, so that a restart needs no network.
ENV PATH=/opt/venv/bin:${PATH} \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    HOME=/tmp \
    KERAS_HOME=/runs/.keras \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The default --job_dir, runs/vae, and configs/ are found from here.
WORKDIR /
# A number, because Kubernetes cannot see that a name is not root's.
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/venv/bin/vae-train"]
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=package /package /
