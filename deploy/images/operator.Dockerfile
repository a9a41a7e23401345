# The control plane. Static, no shell, no package: the program, CA certificates, a user.
#   docker build -f deploy/images/operator.Dockerfile -t ghcr.io/tollgate/operator .                             compiles in a container
#   make images && docker build --build-arg BINARIES=prebuilt -f deploy/images/operator.Dockerfile .       takes target/images/dist
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
LABEL org.opencontainers.image.title="Tollgate operator" \
      org.opencontainers.image.source="https://github.com/tollgate/tollgate" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=binaries /dist/rootfs/ /
COPY --from=binaries /dist/tollgate-operator /tollgate-operator
USER 65532:65532
EXPOSE 18000 9443 9090
ENTRYPOINT ["/tollgate-operator"]
CMD ["run"]
