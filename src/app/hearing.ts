import type { Logger } from 'pino';
import { MOST_IDS, type Notices } from '../../routes/notices.js';
import { messageId } from '../message/id.js';
import type { Crashes } from '../owner/crashes.js';
import type { Owner } from '../owner/owner.js';
import type { Crash } from '../owner/ports.js';
import type { Notice } from '../storage/bulletin.js';
import type { Directory } from '../storage/directory.js';
import type { PendingNotices } from './pull.js';

/** What a process does about what others tell it. */
export function createHearing(deps: {
  readonly owner: () => Owner;
  readonly notices: Notices;
  readonly pendingNotices: PendingNotices;
  readonly directory: Directory;
  readonly crashes: Crashes;
  /** Of a tenant, those that were written down lately. */
  readonly lateCrashes: (tenant: number) => Promise<Crash[]>;
  readonly log: Logger;
}): (notice: Notice) => void {
  async function refresh(): Promise<void> {
    await deps.directory.refresh().catch((error: unknown) => deps.log.warn({ err: error }, 'a change is not seen yet'));
    deps.owner().wake();
  }

  async function learn(tenant: number): Promise<void> {
    const failed = await deps.lateCrashes(tenant).catch((error: unknown) => {
      deps.log.warn({ err: error }, 'a crash that another process had is not known here');
      return [];
    });
    deps.crashes.learn(failed);
  }

  return (notice) => {
    switch (notice[0]) {
      case 'stored':
        deps.owner().stored(notice[1], notice[2], notice[3]);
        break;
      case 'planned':
        publishPlanned(deps.notices, notice[1], notice[2], notice[3], notice[4]);
        break;
      case 'pending':
        deps.pendingNotices.publish(notice[1], notice[2]);
        break;
      case 'voided':
        deps.owner().voided({ tenant: notice[1], target: notice[2], channel: notice[3] });
        break;
      case 'decided':
        deps.owner().wake();
        break;
      case 'configured':
        void refresh();
        break;
      case 'given':
        deps.owner().lookForLeases();
        break;
      case 'crashed':
        void learn(notice[1]);
        break;
      default: {
        const never: never = notice;
        throw never;
      }
    }
  };
}

/** Tells the open pages of a tenant which messages were decided. */
export function publishPlanned(notices: Notices, tenant: number, channel: number, first: number, last: number): void {
  if (!notices.listening(tenant)) return;
  const count = Math.min(last - first + 1, MOST_IDS);
  const ids = Array.from({ length: count }, (_, i) => messageId({ channel, sequence: last - i }));
  notices.publish(tenant, ids);
}
