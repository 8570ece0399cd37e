# untested: written with care where no container could be built.
FROM node:20-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Not `npm ci`: it refuses a lock file that lacks a package for another platform.
RUN npm install --no-save --no-audit --no-fund
COPY tsconfig.json ./
COPY bin bin
COPY src src
COPY routes routes
RUN node bin/prepare.mjs && npm prune --omit=dev --no-save --no-audit --no-fund

FROM node:20-bookworm-slim
# flock and setpriv, which the embedded database needs, are in util-linux: part of every Debian.
WORKDIR /app
ENV NODE_ENV=production \
    WAYBILL_HTTP=0.0.0.0:8420 \
    WAYBILL_SMTP=0.0.0.0:2525 \
    WAYBILL_DATA=/data
COPY package.json LICENSE ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY bin/waybill.mjs bin/waybill.mjs
COPY templates templates
COPY public public
COPY config config
RUN install -d -o node -g node -m 0700 /data
USER node
VOLUME /data
EXPOSE 8420 2525
# Waybill drains on SIGTERM, then stops its database.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8420/healthz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "--max-semi-space-size=16", "--heap-growing-percent=200", "bin/waybill.mjs"]
CMD ["start"]
