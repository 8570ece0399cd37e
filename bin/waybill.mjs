#!/usr/bin/env node
import { existsSync } from 'node:fs';

const cli = new URL('../dist/src/cli/index.js', import.meta.url);
if (!existsSync(cli)) {
  process.stderr.write('waybill: not built yet; run "npm run build" or "npm start" in its directory first\n');
  process.exit(1);
}
await import(cli.href);
