import type { ClientBase, Pool } from 'pg';

/** One line of the audit: who changed, or was refused, what. Holds no secrets. */
export interface AuditEntry {
  readonly tenant: number;
  readonly who: string;
  /** What was done: `token.create`, `target.pause`, `refused`. */
  readonly action: string;
  /** To what, by its public name. */
  readonly object: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

export async function writeAudit(db: Pool | ClientBase, entry: AuditEntry): Promise<void> {
  await db.query('insert into audit (tenant, who, action, object, detail) values ($1, $2, $3, $4, $5)', [
    entry.tenant,
    entry.who,
    entry.action,
    entry.object,
    entry.detail === undefined ? null : JSON.stringify(entry.detail),
  ]);
}
