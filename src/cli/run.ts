import { Command, CommanderError } from 'commander';
import { loadClientSettings } from '../config/load.js';
import { Client } from './client.js';
import { readClientFile } from './client-file.js';
import { addApply } from './commands/apply.js';
import { addBackfill } from './commands/backfill.js';
import { addBackup } from './commands/backup.js';
import { addDeliveries } from './commands/deliveries.js';
import { addErase } from './commands/erase.js';
import { addExplain } from './commands/explain.js';
import { addLedger } from './commands/ledger.js';
import { addPull } from './commands/pull.js';
import { addQuarantine } from './commands/quarantine.js';
import { addRestore } from './commands/restore.js';
import { addRules } from './commands/rules.js';
import { addSendEvent } from './commands/send-event.js';
import { addSendHook } from './commands/send-hook.js';
import { addSendMail } from './commands/send-mail.js';
import { addStart, type Start } from './commands/start.js';
import { addTail } from './commands/tail.js';
import { addTargets } from './commands/targets.js';
import { addTenant } from './commands/tenant.js';
import { addToken } from './commands/token.js';
import { addUser } from './commands/user.js';
import { addVerify } from './commands/verify.js';
import type { Context } from './context.js';
import { EXIT, UsageError } from './failure.js';
import { type Io, Output } from './io.js';

/** Runs one command line, without the program's own name. Resolves to the exit code; never rejects. */
export async function run(argv: readonly string[], io: Io, start: Start): Promise<number> {
  let exitCode: number = EXIT.done;
  const program = makeProgram(io);
  const out = new Output(io, () => program.opts<{ json?: true }>().json === true);
  const context: Context = { io, out, client: () => makeClient(io) };
  addStart(program, start, (code) => {
    exitCode = code;
  });
  addCommands(program, context);
  inherit(program, io);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) return out.failure(error);
    // Commander has said what is wrong, or shown the help that was asked for.
    return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
}

function makeProgram(io: Io): Command {
  return new Command('waybill')
    .description('Routes messages: mail, webhooks and billing events come in and go to target applications.')
    .option('--json', 'give results as JSON on stdout, and failures as JSON on stderr')
    .addHelpText('after', ENVIRONMENT)
    .showSuggestionAfterError()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text.replace(/^error: /, 'waybill: ')),
    });
}

const ENVIRONMENT = `
Environment:
  WAYBILL_URL    where Waybill is; http://127.0.0.1:8420 without it
  WAYBILL_TOKEN  the token to call it with; without it, what a Waybill
                 started here has left in its data directory, if that is
                 the one WAYBILL_URL names
  WAYBILL_DATA   that directory; ./data without it
  WAYBILL_SMTP   where "send mail" goes; without it, where a Waybill
                 started here takes mail, or 127.0.0.1:2525

Exit codes: 0 done, 1 failed, 2 wrong usage.`;

function addCommands(program: Command, context: Context): void {
  addApply(program, context);
  const send = program.command('send').description('send mail, events or a webhook, for trying out and for scripts');
  addSendMail(send, context);
  addSendEvent(send, context);
  addSendHook(send, context);
  addTail(program, context);
  addPull(program, context);
  addExplain(program, context);
  addTargets(program, context);
  addDeliveries(program, context);
  addRules(program, context);
  addQuarantine(program, context);
  addUser(program, context);
  addToken(program, context);
  addTenant(program, context);
  addVerify(program, context);
  addErase(program, context);
  addLedger(program, context);
  addBackfill(program, context);
  addBackup(program, context);
  addRestore(program, context);
}

/** Commander hands settings on only to commands that are added afterwards. */
function inherit(command: Command, io: Io): void {
  command.exitOverride();
  for (const one of command.commands) {
    one.copyInheritedSettings(command);
    inherit(one, io);
  }
}

function makeClient(io: Io): Client {
  const loaded = loadClientSettings({ env: io.env });
  if (loaded.ok) {
    const { url, token } = loaded.settings;
    const local = token === undefined ? readClientFile(io) : undefined;
    const isMeant = local && (!io.env.WAYBILL_URL || isSameServer(url, local.url));
    return new Client(isMeant ? local : { url, token }, io.interrupted);
  }
  throw new UsageError(loaded.problems.map(({ path, message }) => `${path}: ${message}`).join('; '));
}

/** The login of one is for no other: nobody else is to see its token. */
function isSameServer(one: string, other: string): boolean {
  const [first, second] = [one, other].map((url) => {
    const { protocol, hostname, port } = new URL(url);
    return `${protocol}//${hostname === 'localhost' ? '127.0.0.1' : hostname}:${port}`;
  });
  return first === second;
}
