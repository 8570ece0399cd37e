import { expect, test } from 'vitest';
import { startApi } from './harness.js';
test('up', async () => {
  const api = await startApi();
  try {
    for (const p of ['/healthz','/readyz','/openapi.json','/v1/messages','/v1/sources','/v1/targets','/v1/deliveries','/v1/deliveries?state=pending','/v1/rules','/v1/channels','/v1/quarantine','/v1/refusals','/v1/users','/v1/tokens','/v1/tenants','/metrics', '/v1/messages?state=waiting','/v1/messages?state=closed&account=a&q=x&after=2020-01-01T00:00:00Z&before=2030-01-01T00:00:00Z']) {
      const a = await api.call('GET', p);
      expect([p, a.status, a.text.slice(0, 300)]).toEqual([p, 200, a.text.slice(0, 300)]);
    }
  } finally { await api.close(); }
});
