// An OpenID provider for tests: `node provider.js <folder with node_modules>`. It prints its port, and ends with stdin.
//
// Whoever asks signs in as the account that the header x-account names, and consents to everything. Under /control tests
// set its clock, revoke grants, delay its token endpoint, and read what that was asked.

import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const { Provider, errors } = await import(pathToFileURL(`${process.argv[2]}/node_modules/oidc-provider/lib/index.js`));

const realNow = Date.now.bind(Date);
const state = { offset: 0, delay: 0, accessTokenSeconds: 3600, calls: [] };
// The provider reads its clock here alone.
Date.now = () => realNow() + state.offset * 1000;

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;

const client = {
  client_secret: 'a secret of the client, with + and % in it',
  redirect_uris: ['http://127.0.0.1/callback', 'https://app.example.com/callback'],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  application_type: 'native',
};

const provider = new Provider(issuer, {
  clients: [
    { ...client, client_id: 'vault-basic', token_endpoint_auth_method: 'client_secret_basic' },
    { ...client, client_id: 'vault-post', token_endpoint_auth_method: 'client_secret_post' },
    { ...client, client_id: 'vault-public', client_secret: undefined, token_endpoint_auth_method: 'none' },
  ],
  scopes: ['openid', 'offline_access', 'read', 'write'],
  claims: { openid: ['sub'] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
  cookies: { keys: ['a key for tests only'] },
  rotateRefreshToken: true,
  issueRefreshToken: async (ctx, asking) => asking.grantTypeAllowed('refresh_token'),
  ttl: {
    AccessToken: () => state.accessTokenSeconds,
    AuthorizationCode: 60,
    Grant: 86400,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: 86400,
    Session: 86400,
  },
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
});

async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  const account = request.headers['x-account'];
  if (details.prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: account } });
  }
  if (request.headers['x-consent'] === 'no') {
    return provider.interactionFinished(request, response, { error: 'access_denied' });
  }
  // Each consent is a grant of its own, with the scopes that were asked for.
  const grant = new provider.Grant({ accountId: account, clientId: details.params.client_id });
  grant.addOIDCScope(details.params.scope);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

provider.use(async (ctx, next) => {
  if (ctx.path === '/token' && state.delay) {
    await new Promise((resolve) => setTimeout(resolve, state.delay * 1000));
  }
  await next();
  if (ctx.path === '/token' || ctx.path === '/token/revocation') {
    const grantType = ctx.oidc?.params?.grant_type ?? '';
    state.calls.push({ path: ctx.path, grant_type: grantType, status: ctx.status });
    if (ctx.path === '/token' && ctx.oidc?.entities?.Grant) {
      grants.add(ctx.oidc.entities.Grant.jti);
    }
  }
});
const grants = new Set();

async function control(request, response, path) {
  let text = '';
  for await (const piece of request) text += piece;
  const asked = text ? JSON.parse(text) : {};
  if (path === '/control/set') Object.assign(state, asked);
  if (path === '/control/reset') Object.assign(state, { offset: 0, delay: 0, accessTokenSeconds: 3600, calls: [] });
  if (path === '/control/revoke') {
    for (const id of grants) {
      await (await provider.Grant.find(id))?.destroy();
      await Promise.all(['AccessToken', 'RefreshToken'].map((kind) => provider[kind].revokeByGrantId(id)));
    }
    grants.clear();
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ calls: state.calls }));
}

const answer = provider.callback();
server.on('request', (request, response) => {
  const { pathname } = new URL(request.url, issuer);
  const fail = (error) => {
    response.statusCode = 500;
    response.end(String(error?.stack ?? error));
  };
  if (pathname.startsWith('/control/')) control(request, response, pathname).catch(fail);
  else if (pathname.startsWith('/interaction/')) interact(request, response).catch(fail);
  else answer(request, response);
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
console.log(`port ${port}`);
