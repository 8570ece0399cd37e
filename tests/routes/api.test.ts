import { afterAll, beforeAll } from 'vitest';
import { type Api, startApi } from './harness.js';
import { access } from './sections/access.js';
import { configuration } from './sections/configuration.js';
import { decisions } from './sections/decisions.js';
import { deliveries } from './sections/deliveries.js';
import { messages } from './sections/messages.js';
import { quarantine } from './sections/quarantine.js';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

const get = () => api;
messages(get);
decisions(get);
configuration(get);
deliveries(get);
quarantine(get);
access(get);
