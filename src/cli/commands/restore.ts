import type { Command } from 'commander';
import type { Checked, Restored, RestoreOptions } from '../../app/backup.js';
import type { Context } from '../context.js';
import { UsageError } from '../failure.js';
import { count } from '../io.js';
import { atTheDatabase } from '../machine.js';
import { megabytes } from './backup.js';

interface Options {
  readonly replace?: true;
  readonly check?: true;
}

export function addRestore(program: Command, context: Context): void {
  program
    .command('restore')
    .description("put a backup into the database; on Waybill's own machine, while no Waybill runs on it")
    .argument('<file>', 'a file that `waybill backup` wrote')
    .option('--replace', 'put it in the place of the installation that is there, which is lost')
    .option('--check', 'only read all of it and say whether it is whole; asks no database')
    .action((file: string, options: Options) => {
      if (options.check && options.replace)
        throw new UsageError('--check changes nothing, --replace does: say one of them');
      return options.check ? check(context, file) : restore(context, file, options.replace === true);
    });
}

async function check({ io, out }: Context, file: string): Promise<void> {
  const { checkBackup } = await import('../../app/backup.js');
  const { checking, end } = checkingShown(out);
  const checked = await atTheDatabase(io, (deps) => checkBackup(deps, { file, checking })).finally(end);
  await out.show(JSON.stringify({ file, ...checked }), () => [`${file} is whole: ${contents(checked)}`]);
}

async function restore({ io, out }: Context, file: string, replace: boolean): Promise<void> {
  const { restore: restoreFile } = await import('../../app/backup.js');
  const { checking, end } = checkingShown(out);
  const loading = out.progress('rows restored', undefined);
  const progress: RestoreOptions['progress'] = ({ table, place, tables, rows }) =>
    loading.update(rows, `; table ${place} of ${tables}, ${table}`);
  const restored = await atTheDatabase(io, (deps) => restoreFile(deps, { file, replace, checking, progress })).finally(
    () => {
      end();
      loading.end();
    },
  );
  await out.show(JSON.stringify({ file, ...restored }), () => [`restored ${contents(restored.backup)}`]);
  for (const line of whatNow(restored)) out.note(line);
}

function checkingShown(out: Context['out']) {
  const shown = out.progress('checking the backup', undefined);
  return {
    checking: (read: number, of: number) => shown.update(Math.floor((100 * read) / of), ' %'),
    end: () => shown.end(),
  };
}

function contents({ messages, rows, bytes, takenAt, product }: Checked): string {
  return `${count(messages)} messages (${count(rows)} rows, ${megabytes(bytes)}) as of ${takenAt}, by Waybill ${product}`;
}

function whatNow({ epoch, replaced, migrated, tokens, people }: Restored): string[] {
  return [
    `Epoch ${epoch} begins: consumers take what is sent from now on under numbers from 1.`,
    ...(replaced ? [`Replaced: ${count(replaced.messages)} messages of epoch ${replaced.epoch}.`] : []),
    ...(migrated > 0 ? [`Brought the tables up to date by ${migrated} migrations.`] : []),
    `Access is as it was then: ${tokens} tokens and ${people} people are let in, also those revoked or disabled since. See \`waybill token\` and \`waybill user\`, and revoke them again.`,
    'Nobody is signed in: `waybill user link NAME` makes a link.',
    'What came in since the backup must be sent again, what was erased since must be erased again.',
    'Never start the original on the same RabbitMQ beside this: nothing can tell the two apart.',
  ];
}
