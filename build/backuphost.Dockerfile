# The backup host. Targets:
#   build       the compiler
#   tools       only our programs
#   backuphost  Debian's Cyrus with its master(8), and our programs
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${GO_IMAGE} AS build
ARG GOPROXY
ARG GOSUMDB
WORKDIR /src
COPY go.mod go.sum ./
COPY internal/ristretto internal/ristretto/
# compile slow dependencies once, not after each change to our code
RUN go mod download \
	&& CGO_ENABLED=0 go build -trimpath github.com/aws/aws-sdk-go-v2/service/s3 github.com/aws/aws-sdk-go-v2/config \
		github.com/minio/minio-go/v7 github.com/dgraph-io/badger/v4 github.com/klauspost/compress/zstd
COPY . .
RUN build/programs /out

FROM scratch AS tools
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /usr/local/sbin/
ENV PATH=/usr/local/sbin

FROM ${BASE_IMAGE} AS backuphost
# busybox: for its syslogd, because Cyrus logs only to syslog
RUN apt-get update -q \
	&& DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
		cyrus-common cyrus-imapd ca-certificates busybox \
	&& apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=tools /usr/local/sbin/ /usr/local/sbin/
