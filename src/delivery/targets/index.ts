import type { Sender } from '../../message/delivery.js';
import type { Target, TargetDefinition } from '../target.js';
import { createEmailSender, type EmailSenderDeps } from './email.js';
import { createQueueSender, type QueueBroker } from './queue.js';
import { createWebhookSender, type WebhookSenderDeps } from './webhook.js';

export interface SenderDeps extends EmailSenderDeps, WebhookSenderDeps {
  /** Null where RabbitMQ is not configured: queue targets are pulled then. */
  readonly broker: QueueBroker | null;
  /** How long RabbitMQ may take to confirm, milliseconds. */
  readonly unconfirmedMs: number;
}

type Kind = TargetDefinition['kind'];
type Definition<K extends Kind> = Extract<TargetDefinition, { kind: K }>;

/** Makes what sends to a target; null where nothing is sent to it because its consumers come and pull. */
type Reach<K extends Kind> = ((target: Target<Definition<K>>, deps: SenderDeps) => Sender | null) | 'pulled';

/** Every kind of target, and how it is reached. */
const KINDS: { readonly [K in Kind]: Reach<K> } = {
  queue: (target, { broker, ...deps }) => broker && createQueueSender(target, { ...deps, broker }),
  pull: 'pulled',
  webhook: createWebhookSender,
  email: createEmailSender,
};

/** What sends to this target; null where consumers pull from it (`pull`, and `queue` without RabbitMQ). */
export function createSender(target: Target, deps: SenderDeps): Sender | null {
  const reach = KINDS[target.definition.kind] as Reach<Kind>;
  return reach === 'pulled' ? null : reach(target as never, deps);
}
