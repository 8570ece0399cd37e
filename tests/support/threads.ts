import type { ThreadPort } from '../../src/owner/state.js';

/** Every message stands alone. */
export const NO_THREADS: ThreadPort = {
  mayBelong: () => false,
  keysOf: () => null,
  keysOfUnread: () => null,
  contentOf: () => null,
};
