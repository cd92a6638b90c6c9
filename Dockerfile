# docker build -t equidrift . && docker run --rm -v "$PWD:/work" equidrift sample CCO -n 10 -o ethanol.sdf
FROM python:3.12-slim

# torch without CUDA: for a GPU leave this line out, and install the NVIDIA container toolkit
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch>=2.6,<2.14"

COPY . /src
RUN pip install --no-cache-dir /src && rm -rf /src

# results belong to the user who mounts the folder: docker run --user "$(id -u):$(id -g)"
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["equidrift"]
CMD ["--help"]
