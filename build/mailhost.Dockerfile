# The mail host: Debian's Cyrus IMAP, without our programs.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}
RUN apt-get update -q \
	&& DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
		cyrus-common cyrus-imapd cyrus-replication cyrus-clients busybox \
		sasl2-bin libsasl2-modules libsasl2-modules-db \
	&& apt-get clean && rm -rf /var/lib/apt/lists/*
