# docker build -t jarvis-orchestrator .
# docker run -d --name jarvis -p 127.0.0.1:3333:3333 -v jarvis:/data jarvis-orchestrator
# docker exec jarvis cat /data/token             the operator's token, made at the first start unless one is given
# docker exec jarvis jarvis-orchestrator status
#
# Agents of the cli adapter run inside: build an image FROM this one that adds their programs. Stopping the container
# ends them.

FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# No install scripts: ssh2's optional native parts would want a compiler and are not needed.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY scripts/build.mjs scripts/
COPY src src
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:22-bookworm-slim
# tini reaps what agents leave behind; ps, git and curl are what runs and agents use.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates curl git procps tini \
  && rm -rf /var/lib/apt/lists/* \
  && install -d -o node -g node -m 0700 /data
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --chmod=0755 scripts/docker-entrypoint.sh /usr/local/bin/jarvis-orchestrator

ENV NODE_ENV=production JARVIS_DATA_DIR=/data JARVIS_HOST=0.0.0.0 JARVIS_PORT=3333
USER node
VOLUME /data
EXPOSE 3333
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.JARVIS_PORT}/healthz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/jarvis-orchestrator"]
CMD ["serve"]
