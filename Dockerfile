# The package on Ray's own image, for cluster.yaml, the KubeRay file, or a single machine:
#
#     docker build --tag sgg-ray:2.60.0-cpu .
#     docker build --build-arg DEVICE=cu128 --tag sgg-ray:2.60.0-cu128 .
#     docker run --rm --shm-size=2g --volume "$PWD/runs:/home/ray/runs" sgg-ray:2.60.0-cpu \
#         sgg train sgg_ray/pipelines/configs/quickstart.yaml
ARG RAY=2.60.0
ARG DEVICE=cpu
FROM rayproject/ray:${RAY}-py311-${DEVICE}
ARG DEVICE
ARG EXTRAS=demo
WORKDIR /home/ray
COPY --chown=ray pyproject.toml README.md LICENSE sgg_ray/
COPY --chown=ray sgg_ray sgg_ray/sgg_ray/
COPY --chown=ray pipelines sgg_ray/pipelines/
# PyTorch's builds for CPUs are in an index of its own; the ordinary ones bring several gigabytes of CUDA.
RUN if [ "${DEVICE}" = cpu ]; then \
      python -m pip install --no-cache-dir "torch>=2.6,<2.14" --index-url https://download.pytorch.org/whl/cpu; \
    fi
RUN python -m pip install --no-cache-dir --editable "./sgg_ray[${EXTRAS}]"
RUN sgg --version
