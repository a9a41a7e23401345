# The gateway; also relay and bridge. Static, no shell, no package: the program, CA certificates, a user.
#   docker build -f deploy/images/dataplane.Dockerfile -t ghcr.io/tollgate/dataplane .                             compiles in a container
#   make images && docker build --build-arg BINARIES=prebuilt -f deploy/images/dataplane.Dockerfile .       takes target/images/dist
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
LABEL org.opencontainers.image.title="Tollgate gateway" \
      org.opencontainers.image.source="https://github.com/tollgate/tollgate" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=binaries /dist/rootfs/ /
COPY --from=binaries /dist/tollgate-dataplane /tollgate-dataplane
USER 65532:65532
EXPOSE 8080 8443 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/tollgate-dataplane"]
