import type { IncomingMessage } from 'node:http';
import type { Request } from 'express';

/** Where this server is reached: as configured, else as this request came to it. */
export function ownOrigin(publicUrl: string | null, incoming: IncomingMessage): string {
  return publicUrl === null ? askedOrigin(incoming) : new URL(publicUrl).origin;
}

/** Every origin by which the server is known to this request. */
export function ownOrigins(publicUrl: string | null, incoming: IncomingMessage): string[] {
  return [askedOrigin(incoming), ownOrigin(publicUrl, incoming)];
}

function askedOrigin(incoming: IncomingMessage): string {
  const { protocol } = incoming as Request;
  return `${protocol}://${incoming.headers.host ?? 'localhost'}`;
}
