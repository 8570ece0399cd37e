import type { PullDeps } from '../../routes/pull.js';
import type { Target } from '../delivery/target.js';
import type { StoredMessage } from '../message/message.js';
import type { View } from '../message/view.js';
import { isLeft, readyOfEach } from '../owner/dispatch.js';
import type { OwnerStore } from '../owner/ports.js';
import type { Canonical, OwnerDirectory, Render } from '../owner/state.js';

/** Messages looked up at a time for one reply, and their bytes: a larger one is looked up alone. */
const PAGE = 50;
const PAGE_BYTES = 8 * 1024 * 1024;

/** What a pull hands out, made as for any other target. */
export function createPullRender(deps: {
  readonly store: Pick<OwnerStore, 'readWithViews'>;
  readonly directory: () => OwnerDirectory;
  readonly canonical: Canonical;
  readonly viewInPlace: (message: StoredMessage, rung: number) => View;
  readonly render: Render;
}): PullDeps['render'] {
  return async function* (target, leased) {
    for (let at = 0; at < leased.length; ) {
      const page = pageFrom(leased, at);
      at += page.length;
      const ready = await readyOfEach(deps, target, page);
      for (const each of page) {
        const message = ready(each);
        yield isLeft(each, message) ? await deps.render(target, message, each) : null;
      }
    }
  };
}

/** At least one, and no more than may be in memory together. */
function pageFrom<T extends { readonly size: number }>(leased: readonly T[], from: number): T[] {
  let bytes = 0;
  const fitting = leased.slice(from, from + PAGE).findIndex(({ size }, i) => {
    bytes += size;
    return i > 0 && bytes > PAGE_BYTES;
  });
  return leased.slice(from, fitting === -1 ? from + PAGE : from + fitting);
}

/** Wakes consumers that wait for something of a target. */
export class PendingNotices {
  readonly #listeners = new Map<string, Set<() => void>>();

  readonly on = (target: Target, listener: () => void): (() => void) => {
    const key = `${target.tenant.id}/${target.id}`;
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(key);
    };
  };

  publish(tenant: number, target: number): void {
    for (const listener of this.#listeners.get(`${tenant}/${target}`) ?? []) listener();
  }
}
