# MinIO, built from its Go module because its images are no longer published, and rclone to
# inspect the bucket.
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${GO_IMAGE} AS build
ARG GOPROXY
ARG GOSUMDB
# the Makefile reads it here
ARG MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
RUN CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags="-s -w" github.com/minio/minio@${MINIO_VERSION}

FROM ${BASE_IMAGE}
RUN apt-get update -q \
	&& DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends rclone ca-certificates \
	&& apt-get clean && rm -rf /var/lib/apt/lists/* \
	&& install -d -o 65534 -g 65534 /data
COPY --from=build /out/minio /usr/local/bin/minio
