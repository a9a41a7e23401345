# The gateway for one machine: docker run -p 127.0.0.1:8080:8080 -e ANTHROPIC_API_KEY -e TOLLGATE_KEY=… ghcr.io/tollgate/standalone:0.1.0
# /etc/tollgate/manifests holds two routes and one key, made of environment variables; mount a folder over it for more. Records and
# counters are in /data.
#   docker build -f deploy/images/standalone.Dockerfile -t ghcr.io/tollgate/standalone .                             compiles in a container
#   make images && docker build --build-arg BINARIES=prebuilt -f deploy/images/standalone.Dockerfile .       takes target/images/dist
# deploy/images/pack makes the same image from the last stage without any engine.
ARG BINARIES=build

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN deploy/images/build /dist

FROM scratch AS prebuilt
COPY target/images/dist /dist

FROM ${BINARIES} AS binaries

FROM scratch
LABEL org.opencontainers.image.title="Tollgate, standalone" \
      org.opencontainers.image.source="https://github.com/tollgate/tollgate" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=binaries /dist/rootfs/ /
COPY --from=binaries /dist/tollgate-dataplane /tollgate-dataplane
COPY --from=binaries /dist/standalone/ /etc/tollgate/manifests/
COPY --from=binaries --chown=65532:65532 /dist/data/ /data/
ENV TOLLGATE_MANIFESTS=/etc/tollgate/manifests \
    TOLLGATE_DATA=/data \
    TOLLGATE_LISTEN=0.0.0.0:8080
USER 65532:65532
EXPOSE 8080
VOLUME ["/data"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/tollgate-dataplane"]
