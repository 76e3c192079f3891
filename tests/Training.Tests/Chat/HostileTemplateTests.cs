using System.Diagnostics;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Chat.Jinja;

namespace FedRLora.Training.Tests.Chat;

/// <summary>Whatever a template says, it gives a text or is refused with one line: no crash, no hang, no memory to speak of.</summary>
public sealed class HostileTemplateTests
{
    private const long AllocatedBytes = 64L << 20;

    private static readonly Conversation Messages = Conversation.Of(("system", "Be brief."), ("user", "Hi 😀, it's <me>"),
        ("assistant", "Hello\n"), ("user", "and now?"));

    public static TheoryData<string, string> Hostile => new()
    {
        { "endless ranges", "{% for a in range(10**9) %}{% for b in range(10**9) %}x{% endfor %}{% endfor %}" },
        { "nested loops", "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
            + "{% endfor %}" },
        { "a long string", "{{ 'a' * 10**9 }}" },
        { "a long string, other way", "{{ 10**9 * 'ab' }}" },
        { "a long list", "{{ [1] * 10**9 }}" },
        { "a product of lists", "{{ ([1] * 100000) * 100000 }}" },
        { "deep brackets", new string('(', 10_000) + "1" + new string(')', 10_000) },
        { "deep brackets in a tag", "{{ " + new string('(', 10_000) + "1" + new string(')', 10_000) + " }}" },
        { "deep lists", "{{ " + new string('[', 10_000) + new string(']', 10_000) + " }}" },
        { "deep dicts", "{{ " + string.Concat(Enumerable.Repeat("{'a':", 10_000)) + "1" + new string('}', 10_000) + " }}" },
        { "many signs", "{{ " + new string('-', 10_000) + "1 }}" },
        { "many nots", "{{ " + string.Concat(Enumerable.Repeat("not ", 10_000)) + "1 }}" },
        { "a long sum", "{{ 1" + string.Concat(Enumerable.Repeat(" + 1", 10_000)) + " }}" },
        { "a long or", "{{ 0" + string.Concat(Enumerable.Repeat(" or 0", 10_000)) + " }}" },
        { "a long chain of attributes", "{{ messages" + string.Concat(Enumerable.Repeat("[0:]", 10_000)) + " }}" },
        { "a long chain of filters", "{{ 'a'" + string.Concat(Enumerable.Repeat("|string", 10_000)) + " }}" },
        { "a long chain of tests", "{{ 1" + string.Concat(Enumerable.Repeat(" is defined", 10_000)) + " }}" },
        { "a long chain of calls", "{{ range" + string.Concat(Enumerable.Repeat("()", 10_000)) + " }}" },
        { "a long choice", "{{ 1" + string.Concat(Enumerable.Repeat(" if 0 else 1", 10_000)) + " }}" },
        { "a long power", "{{ 2" + string.Concat(Enumerable.Repeat(" ** 2", 10_000)) + " }}" },
        { "deep ifs", string.Concat(Enumerable.Repeat("{% if true %}", 10_000)) + string.Concat(Enumerable.Repeat("{% endif %}", 10_000)) },
        { "deep loops", string.Concat(Enumerable.Repeat("{% for a in [1, 2] %}", 90)) + "x"
            + string.Concat(Enumerable.Repeat("{% endfor %}", 90)) },
        { "many elifs", "{% if 0 %}" + string.Concat(Enumerable.Repeat("{% elif 0 %}", 10_000)) + "{% endif %}" },
        { "a macro that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}" },
        { "a macro that calls itself twice", "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}x{% endmacro %}"
            + "{{ f(60) }}" },
        { "macros in turn", "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}" },
        { "a default that calls its macro", "{% macro f(a=f()) %}{% endmacro %}{{ f() }}" },
        { "doubling", "{% set ns = namespace(x='ab') %}{% for i in range(1000) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}" },
        { "doubling lists", "{% set ns = namespace(x=[1]) %}{% for i in range(1000) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}" },
        { "doubling by join", "{% set ns = namespace(x='ab') %}{% for i in range(1000) %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}"
            + "{{ ns.x }}" },
        { "doubling by replace", "{% set ns = namespace(x='ab') %}{% for i in range(1000) %}{% set ns.x = ns.x.replace('a', ns.x) %}"
            + "{% endfor %}" },
        { "doubling by block", "{% set x = 'ab' %}{% set ns = namespace(x='ab') %}{% for i in range(1000) %}{% set y %}{{ ns.x }}{{ ns.x }}"
            + "{% endset %}{% set ns.x = y %}{% endfor %}" },
        { "doubling by tojson", "{% set ns = namespace(x='\"') %}{% for i in range(1000) %}{% set ns.x = ns.x | tojson %}{% endfor %}" },
        { "doubling by escape", "{% set ns = namespace(x='&') %}{% for i in range(1000) %}{% set ns.x = ns.x | e %}{% endfor %}" },
        { "doubling by indent", "{% set ns = namespace(x='\\n\\n\\n') %}{% for i in range(100000) %}"
            + "{% set ns.x = ns.x | indent(64, true, true) %}{% endfor %}" },
        { "a tree of shared lists, printed", "{% set ns = namespace(x=[]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}"
            + "{% endfor %}{{ ns.x }}" },
        { "a tree of shared lists, as JSON", "{% set ns = namespace(x=[]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}"
            + "{% endfor %}{{ ns.x | tojson(indent=4) }}" },
        { "trees of shared lists, compared", "{% set a = namespace(x=[], y=[]) %}{% for i in range(100) %}{% set a.x = [a.x, a.x] %}"
            + "{% set a.y = [a.y, a.y] %}{% endfor %}{{ a.x == a.y }}{{ a.x < a.y }}{{ a.x in [a.y] }}" },
        { "a deep list", "{% set ns = namespace(x=[]) %}{% for i in range(50000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}" },
        { "a deep list, compared", "{% set ns = namespace(x=[], y=[]) %}{% for i in range(20000) %}{% set ns.x = [ns.x] %}"
            + "{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}" },
        { "a namespace in itself", "{% set ns = namespace() %}{% set ns.x = ns %}{% set ns.y = [ns] %}{{ ns.x.x.x.y == ns.y }}{{ ns.y }}" },
        { "a huge slice", "{{ ('ab' * 100000)[::-1][-10**18:10**18:1] | length }}{{ [1][9223372036854775807:-9223372036854775807:-1] }}"
            + "{{ 'abc'[::9223372036854775807] }}" },
        { "a slice by the least number", "{{ 'abc'[::-9223372036854775807 - 1] }}{{ 'abc'[-9223372036854775807 - 1:] }}" },
        { "slices without end", "{% for i in range(99999) %}{{ ('ab' * 10000)[::-1] | length }}{% endfor %}" },
        { "a power", "{{ 10 ** 10 ** 10 }}" },
        { "a float power", "{{ 10.0 ** 400 }}{{ (10.0 ** 400) | int }}{{ 10.0 ** 400 | tojson }}" },
        { "the least number over -1", "{{ (-9223372036854775807 - 1) // -1 }}" },
        { "the rest of the least number", "{{ (-9223372036854775807 - 1) % -1 }}" },
        { "a range over all numbers", "{{ range(-9223372036854775807, 9223372036854775807, 1) }}" },
        { "a sort of many", "{{ range(99999) | list | sort(reverse=true) | length }}"
            + "{{ (range(99999) | list + range(99999) | list) | unique | list | length }}" },
        { "membership without end", "{% for i in range(99999) %}{{ -1 in range(99999) }}{% endfor %}" },
        { "substring without end", "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ ('a' * 1000 + 'b') in s }}{% endfor %}" },
        { "splits without end", "{% set s = ' a' * 100000 %}{% for i in range(99999) %}{{ s.split() | length }}{% endfor %}" },
        { "case without end", "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{% if s.upper() %}{% endif %}{% endfor %}" },
        { "predicates without end", "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}"
            + "{% if s.isalpha() and s.startswith(s) and s.find('b') %}{% endif %}{% if s.isupper() or s == s %}{% endif %}{% endfor %}" },
        { "equality without end", "{% set s = 'a' * 1000000 %}{% set t = 'a' * 999999 + 'a' %}{% for i in range(99999) %}"
            + "{% if s == t and s < t %}{% endif %}{{ {s: 1}[t] }}{% endfor %}" },
        { "lengths without end", "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{% if s | length %}{% endif %}"
            + "{% if s.count('b') or s.rfind('b') %}{% endif %}{% endfor %}" },
        { "map of map of map", "{{ [1] | map('map', 'map', 'map', 'map', 'map') | list }}" },
        { "colliding brackets", "{{ }}}}}} {{ {{{{{{ }}" },
        { "nothing but openings", string.Concat(Enumerable.Repeat("{{", 50_000)) },
        { "nothing but comments", string.Concat(Enumerable.Repeat("{#", 50_000)) },
        { "raws without end", string.Concat(Enumerable.Repeat("{% raw %}", 20_000)) },
        { "a raw with many tags", "{% raw %}" + string.Concat(Enumerable.Repeat("{%", 100_000)) },
        { "a large template", new string('a', 1 << 20) },
        { "a template of blocks", string.Concat(Enumerable.Repeat("{% set a = 1 %}", 15_000)) },
        { "a chain of withs", string.Concat(Enumerable.Repeat("{% with a = 1 %}", 95)) + "{{ zzz }}"
            + string.Concat(Enumerable.Repeat("{% endwith %}", 95)) },
        { "a format of percents", "{{ strftime_now('%c%n%') }}{{ strftime_now('%' * 1000000) }}" },
        { "a refusal of many lines", "{{ raise_exception('a\n' * 100000) }}" },
        { "a loop over itself", "{% for x in [1] %}{{ loop }}{{ loop | list }}{{ loop == loop }}{% endfor %}" },
        { "reflection", "{{ ''.__class__.__mro__ }}{{ messages.GetType() }}" },
    };

    [Theory, MemberData(nameof(Hostile))]
    public void A_hostile_template_costs_little(string what, string template)
    {
        Assert.NotEmpty(what);
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                AssertCheap(template);
            }
            catch (Exception exception)
            {
                failure = exception;
            }
        }, 1 << 20);
        thread.Start();
        thread.Join();
        Assert.True(failure is null, failure?.ToString());
    }

    [Fact]
    public void Every_mutation_of_a_template_gives_a_text_or_one_line()
    {
        var (read, refused) = Fuzz.Run([.. Samples.Select(Encoding.UTF8.GetBytes)], static bytes => Render(Encoding.UTF8.GetString(bytes)));
        Assert.True(Fuzz.Count < Samples.Length || read > 0, $"{read} read, {refused} refused");
    }

    [Fact]
    public void Every_composed_template_gives_a_text_or_one_line()
    {
        for (var i = 0; i < Fuzz.Count; i++)
        {
            var template = new TemplateComposer(new Random(i)).Compose();
            try
            {
                AssertCheap(template);
            }
            catch (Exception exception)
            {
                Assert.Fail($"template {i}: {exception}\n{template}");
            }
        }
    }

    private static void AssertCheap(string template)
    {
        var (allocated, clock) = (GC.GetAllocatedBytesForCurrentThread(), Stopwatch.StartNew());
        try
        {
            Render(template);
        }
        catch (BadInputException problem)
        {
            Assert.DoesNotContain('\n', problem.Message);
            Assert.True(problem.Message.Length < 2000, $"{problem.Message.Length} characters");
        }

        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        Assert.True(allocated <= AllocatedBytes, $"{allocated >> 20} MiB");
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(30), $"{clock.Elapsed}");
    }

    private static string Render(string template)
    {
        var tokens = new Dictionary<string, string> { ["bos_token"] = "<s>", ["eos_token"] = "</s>" };
        return new ChatTemplate(JinjaTemplate.Parse(template, static line => $"t.jinja:{line}"), null, tokens)
            .Render(Messages, addGenerationPrompt: true).Text;
    }

    private static readonly string[] Samples =
    [
        TinyChat.Template,
        "{{- bos_token }}\n{%- for message in messages %}\n    {%- if message.role == 'assistant' %}{% generation %}"
            + "{{ message.content | trim }}{{ eos_token }}{% endgeneration %}\n    {%- else %}"
            + "{{ '<|' ~ message['role'] ~ '|>\\n' + message.content }}{%- endif %}\n{%- endfor %}\n{% if add_generation_prompt %}"
            + "{{ '<|assistant|>' }}{% endif %}\n",
        "{% set ns = namespace(found=false, n=0, text='') %}{% for m in messages if m.role != 'system' %}"
            + "{% set ns.n = ns.n + loop.index %}{% if loop.last %}{% set ns.found = true %}{% break %}{% elif loop.index0 > 9 %}"
            + "{% continue %}{% endif %}{% set ns.text = ns.text ~ m.content[::-1][1:3] %}{% else %}none{% endfor %}{{ ns.found }} "
            + "{{ ns.n // 2 }} {{ ns.text }}",
        "{% macro show(m, level=1, last=none) -%}\n{{ '#' * level }} {{ m.role | upper }}: {{ m.content | replace('\\n', ' ') | title }}\n"
            + "{%- if level < 3 %}{{ show(m, level + 1, last=m) }}{% endif %}\n{%- endmacro %}{% for m in messages %}{{ show(m) }}"
            + "{% endfor %}",
        "{{ messages | tojson(indent=2) }}{{ {'a': [1, 2.5, true, none], \"b\": (1, 'x')} | tojson }}"
            + "{{ messages | map(attribute='role') | unique | join(', ') }}"
            + "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ range(10, 0, -3) | list }}"
            + "{{ dict(a=1).items() | list }}",
        "{% set block %}a {{ 1 + 2 * 3 ** 2 % 5 - 4 / 2 }}{% endset %}{{ block | trim | capitalize }}{% filter upper %}x{% endfilter %}"
            + "{% with a = 1, b = [a] %}{{ a }}{{ b }}{% endwith %}{# note #}{% raw %}{{ raw }}{% endraw %}"
            + "{{ 'a,b'.split(',')[0].strip().startswith('a') }}",
        "{% if tools is defined and tools is not none and tools %}{{ tools }}{% elif messages[0]['role'] == 'system' %}"
            + "{% set system = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
            + "{{ system | default('none', true) }} {{ 'x' if rest is defined else 'y' }} {{ strftime_now('%d %b %Y') }} "
            + "{{ 3 not in [1, 2] and 'a' in 'abc' or not false }}",
        "{% for k, v in {'one': 1, 'two': 2.0}.items() %}{{ k }}={{ v }}{{ ', ' if not loop.last }}{{ loop.previtem }}"
            + "{{ loop.cycle('a', 'b') }}{% endfor %}{{ [3, 1, 2] | sort(reverse=true) | first }}{{ '5' | int + 1 }}{{ 7.123 | round(1) }}"
            + "{{ {'b': 1, 'a': 2} | dictsort }}{{ 'abc' | list | reverse | join('-') }}{{ messages | last }}",
        "{%- if (messages | length) % 2 == 1 %}{{ raise_exception('Conversation roles must alternate') }}{%- endif %}"
            + "{%- set offset = 1 if messages[0].role == 'system' else 0 %}{%- for m in messages[offset:] %}"
            + "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}{% endif %}{{ m.content }}{%- endfor %}",
    ];
}
