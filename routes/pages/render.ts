import { hash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { create } from 'express-handlebars';

/** Fills a page's template, within the layout. */
export type Fill = (template: string, context: object) => Promise<string>;

/** The templates in a directory: `pages`, in the one of `layouts`, made of `partials`. Each is read once. */
export function openTemplates(directory: string): Fill {
  const engine = create({
    extname: '.hbs',
    defaultLayout: 'main',
    layoutsDir: join(directory, 'layouts'),
    partialsDir: join(directory, 'partials'),
    // Otherwise a partial's own lines, and those of what it shows, would be indented as far as it is: within <pre> that is seen.
    compilerOptions: { preventIndent: true },
  });
  return async (template, context) => {
    const html = await engine.renderView(join(directory, 'pages', `${template}.hbs`), { ...context, cache: true });
    if (typeof html !== 'string') throw new Error(`the page ${template} came out empty`);
    return html;
  };
}

/** Short text that changes with any of a directory's files: in their addresses, it has browsers fetch them anew. */
export function fingerprintOf(directory: string): string {
  const names = readdirSync(directory).sort();
  const contents = names.map((name) => hash('sha256', readFileSync(join(directory, name)), 'hex'));
  return hash('sha256', contents.join(' '), 'hex').slice(0, 12);
}
