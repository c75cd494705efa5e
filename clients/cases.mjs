// Runs cases, says which fail and why, and how many pass; ends the process with 1 where
// one fails that is not known to, or passes although it is, or where there are not as
// many as expected, so that none is lost.
export async function score (client, cases, known, expected) {
  const unmet = []
  let wrong = 0
  for (const [name, run] of Object.entries(cases)) {
    let error
    try {
      await run()
    } catch (e) {
      error = e
      unmet.push(name)
    }
    if (error && !(name in known)) {
      wrong++
      console.log(`FAIL ${name}: ${error.message}`)
    } else if (!error && name in known) {
      wrong++
      console.log(`FAIL ${name}: it passes, although it is known not to, as ${known[name]}`)
    }
  }
  const all = Object.keys(cases).length
  if (all !== expected) {
    wrong++
    console.log(`FAIL: there are ${all} cases, not ${expected}`)
  }
  console.log(`${client}: ${all - unmet.length} of ${all}; not met: ${unmet.join(', ')}`)
  process.exit(wrong ? 1 : 0)
}

export const all = async (source) => { const out = []; for await (const x of source) out.push(x); return out }
