import type { Registry } from 'prom-client';
import { z } from 'zod';
import type { Route } from './route.js';

export interface Health {
  /** Messages are being taken in. False exactly when accepting would answer 503. */
  readonly accepting: boolean;
  /** What is not as it should be, a sentence each; no names of tenants. */
  readonly degraded: readonly string[];
}

export interface HealthDeps {
  readonly health: () => Promise<Health>;
  readonly metrics: Registry;
}

const readySchema = z.object({ accepting: z.boolean(), degraded: z.array(z.string()) });

export function healthRoutes({ health, metrics }: HealthDeps): Route[] {
  return [
    {
      method: 'get',
      path: '/healthz',
      permission: 'public',
      summary: 'This process is alive; asks nothing else',
      replies: { 200: { description: 'Alive', schema: z.object({ alive: z.literal(true) }) } },
      handler: () => ({ status: 200, body: { alive: true } }),
    },
    {
      method: 'get',
      path: '/readyz',
      permission: 'public',
      summary: 'Whether messages are accepted, and what is degraded',
      replies: {
        200: { description: 'They are', schema: readySchema },
        503: { description: 'They would be answered 503 as well', schema: readySchema },
      },
      handler: async () => {
        const { accepting, degraded } = await health();
        return { status: accepting ? 200 : 503, body: { accepting, degraded } };
      },
    },
    {
      method: 'get',
      path: '/metrics',
      permission: 'metrics.read',
      summary: 'Prometheus metrics of this process',
      replies: { 200: { description: 'Text format', type: 'text/plain' } },
      handler: async () => ({ status: 200, type: metrics.contentType, body: await metrics.metrics() }),
    },
  ];
}
