# An image with bench and its components, for CPUs or for GPUs.
#
#   docker build -t bench .                              for CPUs
#   docker build -t bench:cuda --build-arg DEVICE=cuda . for GPUs (run it with: docker run --gpus all)
#   docker run --rm -v bench-home:/bench bench run --method orl --task coco_det
#
# On PyPI, torch for Linux brings CUDA with it, so that one base image does for both: PyTorch needs
# the driver of the host alone. DEVICE=cpu takes the wheels without CUDA, a tenth as large, from the
# index that TORCH_INDEX names; without one it takes those of PyPI too.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG DEVICE=cpu
ARG TORCH_INDEX=
# Extras of pyproject.toml, for example EXTRAS=postgres,ray,slurm
ARG EXTRAS=postgres

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
# git: provenance records the commit of a checkout that is mounted; libgl1 and libglib2.0-0: OpenCV
RUN apt-get update \
 && apt-get install -y --no-install-recommends git libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/bench
# Dependencies first: they change less often than the code, and this layer is the large one.
COPY pyproject.toml README.md LICENSE ./
COPY bench/__init__.py bench/__init__.py
RUN case "$DEVICE" in \
      cpu) pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.6" "torchvision>=0.21" ;; \
      cuda) pip install "torch>=2.6" "torchvision>=0.21" ;; \
      *) echo "DEVICE is cpu or cuda, got $DEVICE" >&2; exit 2 ;; \
    esac
RUN pip install ".[$EXTRAS]" && pip uninstall --yes ssl-crop-bench
COPY . .
RUN pip install --no-deps . && bench list > /dev/null

# The home of a user of any number: docker run --user $(id -u)
RUN mkdir -m 1777 /bench
ENV BENCH_HOME=/bench HOME=/tmp
WORKDIR /bench
EXPOSE 8501
ENTRYPOINT ["bench"]
CMD ["--help"]
