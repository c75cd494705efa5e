// Calls the methods of kubo-rpc-client that the WebUI and other programs use, each a
// case of its own, against the proxy at $PROXY. It says which fail and why, and fails
// with them.
import assert from 'node:assert/strict'

const { create } = await import(process.env.CLIENT)
const ipfs = create({ url: process.env.PROXY + '/api/v0' })
const all = async (source) => { const out = []; for await (const x of source) out.push(x); return out }
const text = async (source) => Buffer.concat(await all(source)).toString()
const hello = 'QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN'
const dir = (await all(ipfs.addAll([{ path: 'd/one', content: 'one\n' }, { path: 'd/sub/two', content: 'two\n' }]))).at(-1).cid

const cases = {
  add: async () => assert.equal((await ipfs.add('hello\n')).cid.toString(), hello),
  'add with progress': async () => { let n = 0; await ipfs.add({ path: 'x', content: Buffer.alloc(1 << 20) }, { progress: (b) => { n = b } }); assert.equal(n, 1 << 20) },
  'add onlyHash': async () => assert.equal((await ipfs.add('hello\n', { onlyHash: true })).cid.toString(), hello),
  'add cidVersion': async () => assert.equal((await ipfs.add('hello\n', { cidVersion: 1 })).cid.version, 1),
  'addAll wrapped': async () => assert.equal((await all(ipfs.addAll([{ path: 'a', content: 'a' }], { wrapWithDirectory: true }))).at(-1).path, ''),
  cat: async () => assert.equal(await text(ipfs.cat(hello)), 'hello\n'),
  'cat a part': async () => assert.equal(await text(ipfs.cat(hello, { offset: 1, length: 3 })), 'ell'),
  'cat a path': async () => assert.equal(await text(ipfs.cat(`${dir}/sub/two`)), 'two\n'),
  'cat a directory': async () => assert.rejects(text(ipfs.cat(dir)), /this dag node is a directory/),
  get: async () => assert.ok((await text(ipfs.get(dir))).includes('two\n')),
  ls: async () => assert.deepEqual((await all(ipfs.ls(dir))).map(e => [e.name, e.type]), [['one', 'file'], ['sub', 'dir']]),
  refs: async () => assert.equal((await all(ipfs.refs(dir, { recursive: true }))).length, 3),
  'refs.local': async () => assert.ok((await all(ipfs.refs.local())).length > 3),
  resolve: async () => assert.match(await ipfs.resolve(`/ipfs/${dir}/sub`), /^\/ipfs\/Qm/),
  'block.put, get, stat, rm': async () => {
    const cid = await ipfs.block.put(Buffer.from('a block'))
    assert.equal(Buffer.from(await ipfs.block.get(cid)).toString(), 'a block')
    assert.equal((await ipfs.block.stat(cid)).size, 7)
    assert.equal((await all(ipfs.block.rm(cid)))[0].error, undefined)
  },
  'block.put pinned': async () => { const cid = await ipfs.block.put(Buffer.from('a pinned block'), { pin: true }); assert.equal((await all(ipfs.pin.ls({ paths: [cid] })))[0].type, 'recursive') },
  'dag.put, get, resolve': async () => {
    const cid = await ipfs.dag.put({ a: { b: [1, 2] } })
    assert.deepEqual((await ipfs.dag.get(cid)).value, { a: { b: [1, 2] } })
    assert.equal((await ipfs.dag.get(cid, { path: '/a/b/1' })).value, 2)
    assert.equal((await ipfs.dag.resolve(cid, { path: 'a/b' })).remainderPath, '/a/b')
  },
  'dag.export, import': async () => {
    const car = await all(ipfs.dag.export(dir))
    const [{ root }] = await all(ipfs.dag.import((async function * () { yield * car })()))
    assert.equal(root.cid.toString(), dir.toString())
    assert.equal(root.pinErrorMsg, '')
  },
  'pin.add, ls, rm': async () => {
    const cid = (await ipfs.add('to be pinned', { pin: false })).cid
    assert.equal((await ipfs.pin.add(cid, { name: 'mine' })).toString(), cid.toString())
    const [pin] = (await all(ipfs.pin.ls({ type: 'recursive', names: true }))).filter(p => p.cid.equals(cid))
    assert.equal(pin.name, 'mine')
    assert.equal((await ipfs.pin.rm(cid)).toString(), cid.toString())
    await assert.rejects(ipfs.pin.rm(cid), /not pinned or pinned indirectly/)
    await assert.rejects(all(ipfs.pin.ls({ paths: [cid] })), /is not pinned/)
  },
  'pin.ls direct': async () => assert.deepEqual(await all(ipfs.pin.ls({ type: 'direct' })), []),
  'pin.addAll': async () => assert.equal((await all(ipfs.pin.addAll([dir]))).length, 1),
  'pin.remote.service.ls': async () => assert.deepEqual(await ipfs.pin.remote.service.ls(), []),
  'files.mkdir, write, read': async () => {
    await ipfs.files.mkdir('/rpc/deep', { parents: true })
    await ipfs.files.write('/rpc/f', 'written', { create: true })
    assert.equal(await text(ipfs.files.read('/rpc/f')), 'written')
    assert.equal(await text(ipfs.files.read('/rpc/f', { offset: 1, length: 2 })), 'ri')
  },
  'files.ls': async () => assert.deepEqual((await all(ipfs.files.ls('/rpc'))).map(e => [e.name, e.type]).sort(), [['deep', 'directory'], ['f', 'file']]),
  'files.stat': async () => assert.equal((await ipfs.files.stat('/rpc/f')).size, 7),
  'files.stat of content': async () => assert.equal((await ipfs.files.stat(`/ipfs/${dir}`, { withLocal: true })).local, true),
  'files.stat of nothing': async () => assert.rejects(ipfs.files.stat('/none'), /file does not exist/),
  'files.cp, mv, rm': async () => {
    await ipfs.files.cp(`/ipfs/${hello}`, '/rpc/c')
    await ipfs.files.mv('/rpc/c', '/rpc/m')
    await ipfs.files.rm('/rpc/m')
    await assert.rejects(ipfs.files.stat('/rpc/m'), /file does not exist/)
  },
  'files.flush': async () => assert.ok(await ipfs.files.flush('/')),
  'files.rm a tree': async () => ipfs.files.rm('/rpc', { recursive: true }),
  'key.gen, list, rename, rm': async () => {
    const k = await ipfs.key.gen('rpc', { type: 'ed25519' })
    assert.ok((await ipfs.key.list()).some(x => x.id === k.id))
    assert.equal((await ipfs.key.rename('rpc', 'rpc2')).now, 'rpc2')
    assert.equal((await ipfs.key.rm('rpc2')).id, k.id)
  },
  'name.publish, resolve': async () => {
    const { name } = await ipfs.name.publish(`/ipfs/${dir}`, { allowOffline: true })
    assert.deepEqual(await all(ipfs.name.resolve(name)), [`/ipfs/${dir}`])
  },
  id: async () => assert.match((await ipfs.id()).agentVersion, /pinfold/),
  version: async () => assert.equal((await ipfs.version()).version, '0.42.0'),
  'repo.stat': async () => assert.ok((await ipfs.repo.stat()).numObjects > 3n),
  'repo.version': async () => assert.equal(String(await ipfs.repo.version()), '18'),
  'repo.gc': async () => assert.ok(Array.isArray(await all(ipfs.repo.gc()))),
  'stats.bw': async () => assert.equal(typeof (await all(ipfs.stats.bw()))[0].totalIn, 'bigint'),
  'stats.repo': async () => assert.ok((await ipfs.stats.repo()).repoSize > 0n),
  'stats.bitswap': async () => assert.ok(Array.isArray((await ipfs.stats.bitswap()).peers)),
  'bitswap.wantlist': async () => assert.deepEqual(await ipfs.bitswap.wantlist(), []),
  'swarm.peers': async () => assert.ok((await ipfs.swarm.peers({ verbose: true, identify: true })).length > 0),
  'swarm.addrs': async () => assert.ok((await ipfs.swarm.addrs()).length > 0),
  'swarm.localAddrs': async () => assert.ok((await ipfs.swarm.localAddrs()).length > 0),
  'swarm.connect, failing': async () => assert.rejects(ipfs.swarm.connect('/ip4/127.0.0.1/tcp/1/p2p/12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF'), /failure/),
  ping: async () => { const { peers: [p] } = { peers: await ipfs.swarm.peers() }; assert.ok((await all(ipfs.ping(p.peer, { count: 1 }))).at(-1).success) },
  'bootstrap.list': async () => assert.deepEqual((await ipfs.bootstrap.list()).Peers, []),
  'config.getAll': async () => assert.ok((await ipfs.config.getAll()).Identity.PeerID),
  'config.get': async () => assert.ok(await ipfs.config.get('Addresses.API')),
  commands: async () => assert.equal((await ipfs.commands()).Name, 'ipfs'),
  isOnline: async () => assert.equal(await ipfs.isOnline(), true),
  'pubsub.ls, which is not there': async () => assert.rejects(ipfs.pubsub.ls(), /not enabled/)
}

let failed = 0
for (const [name, f] of Object.entries(cases)) {
  try {
    await f()
  } catch (e) {
    failed++
    console.log(`FAIL ${name}: ${e.message}`)
  }
}
console.log(`${Object.keys(cases).length - failed} of ${Object.keys(cases).length} cases pass`)
process.exit(failed ? 1 : 0)
