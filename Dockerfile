# The one binary and nothing else: no shell, no package manager, no user but a
# number. Build: docker build --build-arg VERSION="$(git describe --tags --always --dirty)" -t flightlog .

# The version is that of go.mod.
FROM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
# As make build.
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/ ./cmd/...
# Folders that the user may write to. An empty named volume takes owner and mode
# of the folder that it is mounted on.
RUN mkdir -m 0700 -p /folders/var/lib/flightlog && mkdir -m 1777 /folders/tmp

# scratch and not distroless: a static binary needs only certificates beside it,
# and a rolling tag is no pin.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /folders/ /
COPY --from=build /out/flightlog /flightlog
USER 65532:65532
ENTRYPOINT ["/flightlog"]
