import type { StoredMessage } from '../../src/message/message.js';
import type { View } from '../../src/message/view.js';
import type { BackfillDeps } from '../backfills.js';
import type { DecisionDeps } from '../decisions.js';
import type { HeldDeps } from '../held.js';
import type { MessageDeps } from '../messages.js';
import type { OverviewDeps } from '../overview.js';
import type { PeopleDeps } from '../people.js';
import type { QuarantineDeps } from '../quarantine.js';
import type { ConfigurationDeps } from '../sources.js';
import type { TokenDeps } from '../tokens.js';
import type { UsageDeps } from '../usage.js';

/** What the pages need beyond the API: their files, and mail's HTML made safe. */
interface PageOwnDeps {
  /** Directory of the templates. */
  readonly templates: string;
  /** Directory of what is served under /assets. */
  readonly assets: string;
  /** Fires when the process is asked to stop: pages that show how far something is end. */
  readonly stopping: AbortSignal;
  /** A mail's HTML made safe to look at, and how much it would have fetched; null where it has none or can't be read. */
  readonly safeHtml: (
    message: StoredMessage,
    view: View,
  ) => Promise<{ readonly html: string; readonly blocked: number } | null>;
}

export type PageDeps = PageOwnDeps &
  MessageDeps &
  DecisionDeps &
  ConfigurationDeps &
  OverviewDeps &
  QuarantineDeps &
  PeopleDeps &
  TokenDeps &
  Pick<UsageDeps, 'correct'> &
  BackfillDeps &
  HeldDeps;
