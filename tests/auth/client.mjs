// Google's library for Node.js in three versions, with each kind of credentials, up to a response of Vertex AI.
//
// `client.mjs PACKAGE` calls Google's own addresses, and `client.mjs PACKAGE URL` calls an emulator at a base
// URL. Each flow prints one line of JSON: its name, and either the principal of the token or the error.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const [name, own] = process.argv.slice(2)
const { GoogleAuth } = await import(name)

const controlUrl = own ?? process.env.VERTEX_EMULATOR_CONTROL_URL
const api = own ?? 'https://us-central1-aiplatform.googleapis.com'
const scopes = ['https://www.googleapis.com/auth/cloud-platform']
const folder = mkdtempSync(join(tmpdir(), 'auth-'))
const FILE = 'GOOGLE_APPLICATION_CREDENTIALS'

async function control(name) {
  const response = await fetch(`${controlUrl}/__emulator/${name}`)
  if (!response.ok) throw new Error(await response.text())
  return response.text()
}

// Writes a credential file. Its addresses are Google's, or the emulator's own.
async function credentialFile(kind) {
  const token = join(folder, 'subject-token')
  writeFileSync(token, await control('subject_token'))
  const path = join(folder, `${kind}.json`)
  writeFileSync(path, await control(`${kind}?file=${token}${own ? '' : '&at=google'}`))
  return path
}

// Sends a chat with the headers that the library makes, and returns the principal of its token.
async function chat(client) {
  const url = `${api}/v1/projects/emulator-project/locations/us-central1/endpoints/openapi/chat/completions`
  const headers = new Headers(await client.getRequestHeaders(url))
  headers.set('content-type', 'application/json')
  const messages = [{ role: 'user', content: 'hello' }]
  const body = JSON.stringify({ model: 'google/gemini-2.5-flash', messages })
  const response = await fetch(url, { method: 'POST', headers, body })
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  await response.text()
  return JSON.parse(await control('requests')).at(-1).principal
}

async function byDefault(kind) {
  if (kind) process.env[FILE] = await credentialFile(kind)
  return new GoogleAuth({ scopes }).getClient()
}

async function key(options = {}) {
  const credentials = JSON.parse(await control(`service_account_key${own ? '' : '?at=google'}`))
  return new GoogleAuth({ credentials, ...options }).getClient()
}

async function signsItself(options) {
  const client = await key(options)
  client.useJWTAccessWithScope = true
  return chat(client)
}

async function tokenInfo() {
  const client = await key({ scopes })
  const { token } = await client.getAccessToken()
  return (await client.getTokenInfo(token)).email
}

async function idToken() {
  process.env[FILE] = await credentialFile('service_account_key')
  const audience = 'https://service.example.com'
  const client = await new GoogleAuth().getIdTokenClient(audience)
  const token = await client.idTokenProvider.fetchIdToken(audience)
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).email
}

async function metadataServer() {
  delete process.env[FILE]
  process.env.CLOUDSDK_CONFIG = folder
  const auth = new GoogleAuth({ scopes })
  const project = await auth.getProjectId()
  if (project !== 'emulator-project') throw new Error(`the project is ${project}`)
  return chat(await auth.getClient())
}

const flows = {
  service_account: async () => chat(await byDefault('service_account_key')),
  'service_account, signs tokens with a scope': () => signsItself({ scopes }),
  'service_account, signs tokens with an audience': () => signsItself({}),
  'service_account, /tokeninfo': tokenInfo,
  'service_account, ID token': idToken,
  authorized_user: async () => chat(await byDefault('authorized_user')),
  impersonated_service_account: async () => chat(await byDefault('impersonated_service_account')),
  external_account: async () => chat(await byDefault('external_account')),
  'external_account, impersonates': async () => chat(await byDefault('external_account_impersonated')),
  external_account_authorized_user: async () => chat(await byDefault('external_account_authorized_user')),
  'metadata server': metadataServer,
}

for (const [flow, run] of Object.entries(flows)) {
  let result
  try {
    result = { principal: await run() }
  } catch (error) {
    const url = error.config?.url ?? ''
    result = { error: `${error.name}: ${error.message} ${url}`.trim() }
  }
  console.log(JSON.stringify({ flow, ...result }))
}
