import { z } from 'zod';
import { personNameSchema } from '../../src/access/person.js';
import type { Principal } from '../../src/access/principal.js';
import { ROLES } from '../../src/access/role.js';
import { listPeople } from '../../src/storage/access.js';
import { ownOrigin } from '../origin.js';
import { addPerson, changeNamed, linkFor, linkForNamed } from '../people.js';
import { asProblem, caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { readForm } from './form.js';
import { type Site, seeOther } from './show.js';
import { when } from './words.js';

const addForm = z.object({ name: z.string().trim().toLowerCase(), role: z.enum(ROLES) });
const roleForm = z.object({ role: z.enum(ROLES) });
const nameParams = z.object({ name: personNameSchema });
type Named = { readonly name: string };

/** What the page has to say beside the list. */
interface Said {
  readonly link?: { readonly name: string; readonly signIn: string; readonly expiresAt: string };
  readonly failed?: { readonly why: string; readonly name?: string };
  readonly status?: number;
}

/** Who may sign in, and their one-time links. */
export function peoplePages(deps: PageDeps, site: Site): Route[] {
  const replies = { 200: { description: 'The page', type: 'text/html' }, 409: { description: 'It can’t be done' } };
  const origin = (incoming: ApiRequest['incoming']) => ownOrigin(deps.publicUrl, incoming);
  /** Does it, or shows the page with what stood in the way. */
  const attempt = async (by: Principal, name: string, work: () => Promise<Reply>): Promise<Reply> => {
    try {
      return await work();
    } catch (error) {
      const { status, detail } = asProblem(error);
      if (status !== 403 && status !== 409) throw error;
      return showPeople(deps, site, by, { failed: { why: detail, name }, status });
    }
  };
  return [
    {
      method: 'get',
      path: '/people',
      permission: 'people.manage',
      summary: 'Everybody who may sign in',
      replies,
      handler: ({ principal }) => showPeople(deps, site, caller(principal), {}),
    },
    {
      method: 'post',
      path: '/people',
      permission: 'people.manage',
      summary: 'Add a person; the page shows their one-time link',
      body: 'form',
      replies,
      handler: ({ principal, body, incoming }: ApiRequest) => {
        const by = caller(principal);
        const { name, role } = readForm(addForm, body);
        return attempt(by, name, async () => {
          const checked = personNameSchema.safeParse(name);
          if (!checked.success) {
            const why = `A name is made of ${checked.error.issues[0]?.message}.`;
            return showPeople(deps, site, by, { failed: { why, name }, status: 422 });
          }
          const person = await addPerson(deps, by, { name, role });
          const link = await linkFor(deps, by, person, origin(incoming));
          return showPeople(deps, site, by, { link: { name, ...link } });
        });
      },
    },
    {
      method: 'post',
      path: '/people/:name/sign-in',
      permission: 'people.manage',
      summary: 'A new one-time link',
      params: nameParams,
      body: 'form',
      replies,
      handler: ({ principal, params: { name }, incoming }: ApiRequest<Named>) => {
        const by = caller(principal);
        return attempt(by, name, async () => {
          const link = await linkForNamed(deps, by, name, origin(incoming));
          return showPeople(deps, site, by, { link: { name, ...link } });
        });
      },
    },
    ...(['disable', 'enable', 'role'] as const).map(
      (what): Route => ({
        method: 'post',
        path: `/people/:name/${what}`,
        permission: 'people.manage',
        summary: `Change a person: ${what}`,
        params: nameParams,
        body: 'form',
        replies: { 303: { description: 'Done' }, 409: { description: 'It can’t be done' } },
        handler: ({ principal, params: { name }, body }: ApiRequest<Named>) => {
          const by = caller(principal);
          return attempt(by, name, async () => {
            const wanted = what === 'role' ? readForm(roleForm, body) : { disabled: what === 'disable' };
            await changeNamed(deps, by, name, wanted);
            return seeOther('/people');
          });
        },
      }),
    ),
  ];
}

async function showPeople(deps: PageDeps, site: Site, by: Principal, said: Said): Promise<Reply> {
  const people = await listPeople(deps.pool, by.tenant.id);
  const { link } = said;
  const roles = (chosen: string) => ROLES.map((name) => ({ name, selected: name === chosen }));
  return site.show({ template: 'people', title: 'People', part: 'people', status: said.status ?? 200 }, by, {
    people: people.map((person) => ({
      name: person.name,
      href: `/people/${encodeURIComponent(person.name)}`,
      roles: roles(person.role),
      disabled: person.disabled,
      self: by.kind === 'person' && person.name === by.who,
    })),
    roles: roles('operator'),
    link: link && { name: link.name, signIn: link.signIn, until: when(new Date(link.expiresAt), deps.now()) },
    failed: said.failed,
  });
}
