export type BackupFailure =
  /** The file is none of ours. */
  | 'not_a_backup'
  /** Its end is missing. */
  | 'backup_cut_short'
  /** Its bytes are not those that were written. */
  | 'backup_altered'
  /** Written in a later format, or with tables that this version does not know. */
  | 'backup_newer'
  /** Its tables were made by migrations that read otherwise here. */
  | 'backup_differs'
  | 'file_exists'
  | 'file_unreadable'
  | 'file_unwritable'
  /** There is no database, or no Waybill in it. */
  | 'nothing_to_back_up'
  /** Some Waybill process uses the database. */
  | 'waybill_running'
  /** Another restore or a start has the database. */
  | 'database_busy'
  /** There is an installation already, and nobody said to replace it. */
  | 'installation_exists'
  /** The database failed in the middle; nothing was changed. */
  | 'database_failed'
  /** The answer to the commit was lost. */
  | 'outcome_unknown'
  | 'interrupted';

/** A backup or a restore that did not take place. The message is for a person: what is wrong, and what to do. */
export class BackupFailed extends Error {
  override readonly name = 'BackupFailed';
  constructor(
    readonly code: BackupFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export function interrupted(): BackupFailed {
  return new BackupFailed('interrupted', 'Interrupted: nothing was changed.');
}

/** What the system said, without the path that the sentence around it names. */
export function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
      return 'there is no such file or directory';
    case 'EACCES':
    case 'EPERM':
      return 'this user may not';
    case 'EISDIR':
      return 'it is a directory';
    case 'ENOSPC':
    case 'EDQUOT':
      return 'the disk is full';
    case 'EROFS':
      return 'the disk is read-only';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
