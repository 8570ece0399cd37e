import { join } from 'node:path';
import { z } from 'zod';

/**
 * What a Waybill without WAYBILL_ADMIN_TOKEN leaves in its data directory for the `waybill` command on the same machine,
 * readable by its own user alone: whoever can read it could read the database as well.
 */
export const clientFileSchema = z.object({
  url: z.string(),
  token: z.string(),
  /** `host:port`; null where it takes no mail. */
  smtp: z.string().nullable().default(null),
});
export type ClientFile = z.infer<typeof clientFileSchema>;

export function clientFilePath(dataDirectory: string): string {
  return join(dataDirectory, 'client.json');
}
