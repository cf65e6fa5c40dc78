# dermssl in a container:
#
#   docker build -t dermssl .
#   docker build -t dermssl:gpu --build-arg EXTRAS=heic,dicom,excel,parquet,onnx,gpu .
#   docker run --rm -v "$PWD/PHOTOS:/photos:ro" -v "$PWD/outputs:/work/outputs" dermssl \
#       pretrain --data /photos
#
# With --gpus all, dermssl:gpu uses NVIDIA GPUs; the host needs their driver and the NVIDIA Container
# Toolkit. CUDA comes from TensorFlow's own packages, so both images have the same base.
FROM python:3.11-slim AS build
WORKDIR /source
COPY constraints.txt pyproject.toml setup.cfg README.md LICENSE ./
COPY dermssl dermssl
ARG EXTRAS=heic,dicom,excel,parquet,onnx
ENV PIP_CONSTRAINT=/source/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/dermssl && /opt/dermssl/bin/python -m pip install ".[${EXTRAS}]"

FROM python:3.11-slim
COPY --from=build /opt/dermssl /opt/dermssl
RUN useradd --uid 1000 --create-home user \
    && install -d -o user -g user /photos /work /work/outputs
ENV HOME=/home/user \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PATH=/opt/dermssl/bin:$PATH
USER 1000
WORKDIR /work
VOLUME ["/photos", "/work/outputs"]
# No image is built where something that dermssl needs is broken. Any user, as of `docker run --user`,
# may write to this home: caches, downloaded weights.
RUN dermssl doctor --quick && chmod -R a+rwX /home/user
ENTRYPOINT ["dermssl"]
CMD ["--help"]
