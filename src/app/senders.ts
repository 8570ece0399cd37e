import type { Target } from '../delivery/target.js';
import { createSender, type SenderDeps } from '../delivery/targets/index.js';
import type { Sender } from '../message/delivery.js';

export interface Senders {
  /** What sends to a target as it is defined now; null where its consumers fetch. */
  readonly of: (target: Target) => Sender | null;
  /** Ends those of targets that are not there any more. */
  keepOnly(targets: readonly Target[]): void;
  /** Settles what is under way everywhere. */
  close(): Promise<void>;
}

interface Made {
  readonly definition: string;
  readonly sender: Sender | null;
}

/** One sender for each target. A target that was defined anew gets a new one, and the old one ends when it is done. */
export function createSenders(deps: SenderDeps, onCloseFailed: (error: unknown) => void): Senders {
  const made = new Map<string, Made>();
  const known = new WeakMap<Target['definition'], string>();
  const closing = new Set<Promise<void>>();

  function textOf(definition: Target['definition']): string {
    const text = known.get(definition) ?? JSON.stringify(definition);
    known.set(definition, text);
    return text;
  }

  function retire(sender: Sender): void {
    const closed = sender
      .close()
      .catch(onCloseFailed)
      .finally(() => closing.delete(closed));
    closing.add(closed);
  }

  return {
    of(target) {
      const key = keyOf(target);
      const definition = textOf(target.definition);
      const present = made.get(key);
      if (present?.definition === definition) return present.sender;
      if (present?.sender) retire(present.sender);
      const sender = openSender(target, deps);
      made.set(key, { definition, sender });
      return sender;
    },
    keepOnly(targets) {
      const kept = new Set(targets.map(keyOf));
      for (const [key, { sender }] of made) {
        if (kept.has(key)) continue;
        made.delete(key);
        if (sender) retire(sender);
      }
    },
    async close() {
      for (const { sender } of made.values()) if (sender) retire(sender);
      made.clear();
      await Promise.all(closing);
    },
  };
}

function keyOf(target: Target): string {
  return `${target.tenant.id}/${target.id}`;
}

/** A definition nothing can be sent by (a name that belongs to Waybill, say) pauses its target, and no other. */
function openSender(target: Target, deps: SenderDeps): Sender | null {
  try {
    return createSender(target, deps);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      send: async (batch) => batch.map(() => ({ result: 'pause', code: 'definition_unusable', reason })),
      close: async () => undefined,
    };
  }
}
