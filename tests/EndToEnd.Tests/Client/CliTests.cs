using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Client;
using FedRLora.Client.Rendering;
using FedRLora.Silo;

namespace FedRLora.EndToEnd.Tests.Client;

public sealed class CliTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-cli-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Validate_of_a_good_plan_says_what_would_run()
    {
        var (code, output, error) = await RunAsync("validate", Plan(SampleRun.Yaml));

        Assert.Equal((0, ""), (code, error));
        Assert.Equal(
            $"{Path.Combine(_folder, "plan.yaml")}: valid. r-lora-federated on models/tiny: 3 clients, 2 tasks, 2 sites, 3 rounds.",
            output.Split('\n')[0]);
        Assert.StartsWith("Groups: ", output.Split('\n')[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Validate_of_a_bad_plan_gives_every_problem_and_2()
    {
        var path = Plan("name: demo\nmodel: m\nclients: []\nseed: -1\n");
        var (code, output, error) = await RunAsync("validate", path);

        Assert.Equal((2, ""), (code, output));
        Assert.Equal(
            [$"{path}:3:10: clients: the list is empty; give at least one client.",
                $"{path}:4:7: seed: \"-1\" is not an integer from 0 to 18446744073709551615."],
            error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public async Task Validate_with_json_gives_problems_to_programs()
    {
        var (code, output, error) = await RunAsync("validate", "--json", Plan("name: demo\nmodel: m\nclients: []\n"));

        Assert.Equal((2, ""), (code, error));
        using var json = JsonDocument.Parse(output);
        Assert.False(json.RootElement.GetProperty("valid").GetBoolean());
        Assert.Equal(3, json.RootElement.GetProperty("problems")[0].GetProperty("line").GetInt32());
    }

    [Theory]
    [InlineData("missing.yaml", "no such file")]
    [InlineData(".", "is a folder")]
    public async Task A_file_that_cannot_be_read_is_bad_input(string name, string expected)
    {
        var (code, _, error) = await RunAsync("validate", Path.Combine(_folder, name));

        Assert.Equal(2, code);
        Assert.Contains(expected, Assert.Single(error.Split('\n', StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_is_not_text_is_bad_input()
    {
        var path = Path.Combine(_folder, "plan.yaml");
        await File.WriteAllBytesAsync(path, [0x80, 0xff, 0xfe]);

        var (code, _, error) = await RunAsync("validate", path);
        Assert.Equal((2, $"{path}:1: byte 0x80 is not UTF-8; save the file as UTF-8"), (code, error.TrimEnd()));
    }

    [Fact]
    public async Task Methods_lists_the_whole_catalogue()
    {
        var (code, output, _) = await RunAsync("methods");
        Assert.Equal(0, code);
        Assert.All(AdapterCatalog.Methods, pair => Assert.Contains($"{pair.Key} ", output, StringComparison.Ordinal));

        (_, output, _) = await RunAsync("methods", "--json");
        using var json = JsonDocument.Parse(output);
        Assert.Equal(
            AdapterCatalog.Methods.Keys.Order(StringComparer.Ordinal),
            json.RootElement.EnumerateArray().Select(static method => method.GetProperty("name").GetString()));
        foreach (var method in json.RootElement.EnumerateArray())
        {
            var spec = AdapterCatalog.Methods[method.GetProperty("name").GetString()!].Spec;
            var tensors = method.GetProperty("adapter").GetProperty("tensors");
            Assert.Equal(spec.Tensors.Keys, tensors.EnumerateObject().Select(static tensor => tensor.Name));
            foreach (var (role, policy) in spec.Tensors)
            {
                var scope = tensors.GetProperty(role).GetProperty("scope").GetString();
                Assert.Equal(policy.Scope.ToString(), scope, ignoreCase: true);
            }
        }

        // What is computed from the weight begins by no law.
        Assert.All(AdapterParts.Roles, role => Assert.All(
            json.RootElement.EnumerateArray().Select(static method => method.GetProperty("adapter").GetProperty("tensors"))
                .Where(tensors => tensors.TryGetProperty(role.Name, out _)),
            tensors => Assert.Equal(role.IsDrawn, tensors.GetProperty(role.Name).TryGetProperty("init", out _))));

        var hydra = json.RootElement.EnumerateArray().Single(static method => method.GetProperty("name").GetString() == "hydra-lora");
        Assert.Equal("softmax", hydra.GetProperty("adapter").GetProperty("routing").GetString());
    }

    public static TheoryData<string> MethodNames => [.. AdapterCatalog.Methods.Keys];

    [Theory, MemberData(nameof(MethodNames))]
    public async Task A_method_is_told_with_its_tensors_who_receives_them_and_their_size_on_a_model(string method)
    {
        var (entry, model) = (AdapterCatalog.Methods[method], Directory.CreateDirectory(Path.Combine(_folder, "model")).FullName);
        await File.WriteAllTextAsync(Path.Combine(model, "config.json"), """
            {
              "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
              "hidden_act": "silu"
            }
            """);
        var (code, output, _) = await RunAsync("methods", method, "--model", model);
        Assert.Equal(0, code);
        Assert.Contains(entry.Source, output, StringComparison.Ordinal);
        var (spec, downs) = (entry.Spec, entry.Spec.Downs == Downs.PerHead ? entry.Spec.Heads : 1);
        var rank = 8 * downs * (spec.Start == Start.Anchored ? 2 : 1);
        var pair = spec.TaskBranch.Exists ? $", {rank + spec.TaskBranch.Rank} where the task pair is" : "";
        var export = spec.IsStatic ? $"in PEFT's layout of rank {rank}{pair}" : "no exact PEFT form";
        Assert.Contains(export, output, StringComparison.Ordinal);
        Assert.All(entry.Spec.Roles, role => Assert.Contains($"\n{role.Name} ", output, StringComparison.Ordinal));
        Assert.All(MethodPage.Of(method, entry, null, width: 80).Split('\n'), static line => Assert.True(line.Length <= 80, line));

        (_, output, _) = await RunAsync("methods", method, "--model", model, "--json");
        using var json = JsonDocument.Parse(output);
        Assert.All(entry.Spec.Roles, role => Assert.Equal(role.IsDrawn, json.RootElement.GetProperty("adapter").GetProperty("tensors")
            .GetProperty(role.Name).TryGetProperty("init", out _)));
        var elements = json.RootElement.GetProperty("elements");
        // A layer's seven linears have 32 inputs, but for down_proj with 48.
        Assert.Equal(2 * downs * 8 * (6 * 32 + 48), elements.GetProperty("A").GetInt64());
        Assert.Equal(
            2 * spec.Heads * (spec.Core.Rank ?? 8) * (32 + 16 + 16 + 32 + 48 + 48 + 32), elements.GetProperty("B").GetInt64());
        Assert.Equal(
            spec.Tensors.Keys.Where(spec.Moves),
            json.RootElement.GetProperty("leavesTheSite").EnumerateArray().Select(static role => role.GetString()));
        Assert.All(json.RootElement.GetProperty("tensors").EnumerateArray(), tensor =>
        {
            var policy = entry.Spec.Tensor(tensor.GetProperty("tensor").GetString()!);
            var bytes = 4 * elements.GetProperty(tensor.GetProperty("tensor").GetString()!).GetInt64();
            Assert.Equal(policy.Scope.ToString(), tensor.GetProperty("scope").GetString(), ignoreCase: true);
            Assert.Equal(policy is { IsAggregated: true, Trains: true } ? bytes : 0, tensor.GetProperty("bytesEachWay").GetInt64());
        });
        Assert.Equal(
            spec.Tensors.Keys.Where(spec.Moves).Sum(tensor => 4 * elements.GetProperty(tensor).GetInt64()),
            json.RootElement.GetProperty("bytesEachWay").EnumerateObject().Sum(static scope => scope.Value.GetInt64()));
    }

    [Theory]
    [InlineData("fedsa-lora", "Leaves the site: what training changed in A (scope job).")]
    [InlineData("lora", "Leaves the site: what training changed in A and B (scope job).")]
    [InlineData("fedsa-lora-task-heads", "Leaves the site: what training changed in A (scope job) and B (scope task).")]
    public async Task A_method_says_what_leaves_a_site_by_scope(string method, string expected) =>
        Assert.Contains(expected, (await RunAsync("methods", method)).Output, StringComparison.Ordinal);

    [Fact]
    public async Task Validate_says_who_receives_each_tensor_and_how_much_leaves_a_client()
    {
        await File.WriteAllTextAsync(Path.Combine(Directory.CreateDirectory(Path.Combine(_folder, "m")).FullName, "config.json"), """
            {
              "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu"
            }
            """);
        var plan = Plan("name: x\nmodel: m\nadapter: {method: r-lora-federated-task-heads, targetModules: [q_proj]}\nclients:\n"
            + string.Concat(Enumerable.Range(0, 5).Select(static i => $"  - {{id: c{i}, task: t{i / 3}, data: {{train: a.jsonl}}}}\n")));
        var (code, output, _) = await RunAsync("validate", plan);

        Assert.Equal(0, code);
        Assert.Equal(
        [
            "tensor  scope  received by          clients  a client",
            "------  -----  -------------------  -------  --------",
            "A       job    all clients                5    2.0 kB",
            "B       task   clients of its task   2 to 3    2.0 kB",
            "",
            "Clients of a task: t0 3, t1 2.",
            "Leaves the site: what training changed in A (scope job, 2.0 kB) and B (scope task, 2.0 kB): 4.1 kB a client and round, "
                + "and as much comes back.",
        ], output.Split('\n')[3..10]);

        (_, output, _) = await RunAsync("validate", plan, "--json");
        using var json = JsonDocument.Parse(output);
        Assert.Equal((2048, 2048), (json.RootElement.GetProperty("bytesEachWay").GetProperty("job").GetInt64(),
            json.RootElement.GetProperty("bytesEachWay").GetProperty("task").GetInt64()));
        Assert.Equal("clients of its task", json.RootElement.GetProperty("tensors")[1].GetProperty("receivedBy").GetString());
        Assert.Equal(3, json.RootElement.GetProperty("clientsByTask").GetProperty("t0").GetInt32());
    }

    [Theory]
    [InlineData("lora", "a b", "Heads: B is aggregated over 2 tasks")]
    [InlineData("ffa-lora", "a b", "Heads: B is aggregated over 2 tasks")]
    [InlineData("lora", "a a", null)]
    [InlineData("fedsa-lora", "a b b", "Heads: B stays with each client, also where 2 have the task b;")]
    [InlineData("r-lora-federated", "a b b", "Heads: B stays with each client, also where 2 have the task b;")]
    [InlineData("r-lora-federated, sharing: none", "a b b", null)]
    [InlineData("hydra-lora", "a b b", null)]
    [InlineData("meteora", "a b b", null)]
    [InlineData("align-lora", "a b b", null)]
    [InlineData("mtl-lora", "a b b", null)]
    [InlineData("fedsa-lora", "a b", null)]
    [InlineData("fedsa-lora-task-heads", "a b b", null)]
    [InlineData("vera", "a b b", null)]
    [InlineData("lora, scopeA: client, scopeB: client", "a a", null)]
    public async Task Validate_says_where_heads_by_task_may_do_better_with_keys_that_the_plan_takes(
        string method, string tasks, string? expected)
    {
        var sharing = method.EndsWith(", sharing: none", StringComparison.Ordinal) ? "sharing: none\n" : "";
        var plan = Plan($"name: x\nmodel: m\nadapter: {{method: {method.Split(", sharing")[0]}}}\n{sharing}clients:\n"
            + string.Concat(tasks.Split(' ').Select(static (task, i) => $"  - {{id: c{i}, task: {task}, data: {{train: a.jsonl}}}}\n")));
        var (code, output, _) = await RunAsync("validate", plan);
        using var json = JsonDocument.Parse((await RunAsync("validate", plan, "--json")).Output);

        Assert.Equal(0, code);
        Assert.Equal(expected, output.Split('\n').FirstOrDefault(static line => line.StartsWith("Heads: ", StringComparison.Ordinal))
            is { } line ? line[..Math.Min(line.Length, expected?.Length ?? 0)] : null);
        var hint = json.RootElement.GetProperty("hint").GetString();
        Assert.Equal(expected is not null, hint is not null);
        if (hint is null) return;
        string[] keys = [.. new[] { "adapter.scopeB: task", "adapter.seedB: perTask" }.Where(hint.Contains)];
        Assert.Equal(method == "r-lora-federated" ? 2 : 1, keys.Length);
        var changed = await RunAsync(
            ["validate", plan, .. keys.SelectMany(static key => new[] { "--set", key.Replace(": ", "=", StringComparison.Ordinal) })]);
        Assert.True(changed.Code == 0, changed.Error);
        Assert.DoesNotContain("Heads: ", changed.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Validate_of_a_plan_that_shares_nothing_says_that_nobody_receives_a_tensor()
    {
        var (_, output, _) = await RunAsync("validate", Plan($"sharing: none\n{SampleRun.Yaml}"));

        Assert.Contains("A       client  nobody", output, StringComparison.Ordinal);
        Assert.Contains("Leaves the site: no tensor.", output, StringComparison.Ordinal);
        Assert.Contains("Sizes follow from the model: ", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_method_that_is_not_known_is_named_with_those_that_are()
    {
        var (code, _, error) = await RunAsync("methods", "r-lorra");
        Assert.Equal(2, code);
        Assert.Contains("methods: r-lorra is not known; name one of align-lora, ", Assert.Single(error.TrimEnd().Split('\n')),
            StringComparison.Ordinal);
        Assert.Equal(2, (await RunAsync("methods", "--model", "somewhere")).Code);
    }

    [Theory]
    [InlineData("Required argument missing for command: 'validate'; see fedrlora validate --help", "validate")]
    [InlineData("unknown command 'simulat'; see fedrlora --help", "simulat", "plan.yaml")]
    [InlineData("unknown command 'bogus'; see fedrlora --help", "bogus", "--json", "--other")]
    [InlineData("unknown option '--jsonn'; see fedrlora methods --help", "methods", "--jsonn")]
    [InlineData("unknown option '--sit'; see fedrlora submit --help", "submit", "--sit", "plan.yaml")]
    [InlineData("unknown argument 'more'; see fedrlora methods --help", "methods", "r-lora", "more")]
    [InlineData("--seed: '-1' is not a whole number from 0 to 18446744073709551615; see fedrlora simulate --help", "simulate", "plan.yaml",
        "--seed", "-1")]
    [InlineData("--gateway: 'x' is not a whole number from 1 to 65535; see fedrlora silo --help", "silo", "--site", "here",
        "--gateway", "x")]
    [InlineData("--join: '99999' is not a whole number from 1 to 65535; see fedrlora silo --help", "silo", "--site", "here",
        "--join", "99999")]
    public async Task A_command_line_that_cannot_be_parsed_is_bad_input(string expected, params string[] args)
    {
        var (code, output, error) = await RunAsync(args);

        Assert.Equal((2, ""), (code, output));
        Assert.Equal(expected + "\n", error);
    }

    [Theory]
    [InlineData("watch", "a/b")]
    [InlineData("watch", "..")]
    [InlineData("cancel", "a b")]
    [InlineData("resume", "../up", "--server", "http://127.0.0.1:8470")]
    [InlineData("submit", "PLAN", "--run", "a/b")]
    [InlineData("silo", "--site", "here", "--site", "a/b")]
    public async Task A_name_that_could_be_a_path_is_bad_input(params string[] args)
    {
        var plan = Plan(SampleRun.Yaml);
        var (code, _, error) = await RunAsync([.. args.Select(arg => arg == "PLAN" ? plan : arg)]);

        Assert.Equal(2, code);
        Assert.EndsWith("is not a name; use 1 to 64 letters, digits, dots, dashes and underscores, the first no dot.\n", error,
            StringComparison.Ordinal);
        Assert.Single(error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public async Task A_port_may_stand_before_the_run()
    {
        var result = await CommandLine.RunAsync("watch", "--server", new SiloPlace().Url, "first");

        Assert.Equal(3, result.Code);
        Assert.StartsWith("no silo answers at http://127.0.0.1", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Submit_checks_the_plan_also_if_a_run_is_named()
    {
        var (code, _, error) = await RunAsync("submit", Plan("name: demo\nmodel: m\nclients: []\n"), "--run", "mine");

        Assert.Equal(2, code);
        Assert.Contains("plan.yaml:3:10", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData]
    [InlineData("--help")]
    [InlineData("validate", "--help")]
    public async Task Help_is_not_a_failure(params string[] args)
    {
        var (code, output, error) = await RunAsync(args);

        Assert.Equal((0, ""), (code, error));
        Assert.Contains("validate", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Every_command_has_a_description_and_its_own_name()
    {
        var commands = Program.Commands.Select(static create => create()).ToList();

        Assert.All(commands, static command => Assert.False(string.IsNullOrWhiteSpace(command.Description)));
        Assert.Equal(commands.Count, commands.Select(static command => command.Name).Distinct().Count());
        await Task.CompletedTask;
    }

    public static TheoryData<Exception, int> Failures => new()
    {
        { new BadInputException("x"), 2 },
        { new PlanException([new("p.yaml", 1, 2, "x")]), 2 },
        { new AggregateException(new BadInputException("x")), 2 },
        { new DllNotFoundException("libtorch"), 3 },
        { new TypeInitializationException("torch", new DllNotFoundException("libtorch")), 3 },
        { new InvalidOperationException("x"), 1 },
        { new OperationCanceledException(), 1 },
    };

    [Theory]
    [MemberData(nameof(Failures))]
    public async Task What_goes_wrong_is_one_line_and_an_exit_code(Exception thrown, int expected)
    {
        using var error = new StringWriter();
        var code = await Cli.RunAsync(["fail"], [() => Throwing(thrown)], TextWriter.Null, error);

        Assert.Equal(expected, code);
        Assert.Single(error.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.DoesNotContain("   at ", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_interrupted_command_returns_130()
    {
        using var source = new CancellationTokenSource();
        await source.CancelAsync();

        Assert.Equal(130, await Cli.RunAsync(["fail"], [() => Throwing(new OperationCanceledException(source.Token))], TextWriter.Null,
            TextWriter.Null, source.Token));
    }

    private static System.CommandLine.Command Throwing(Exception exception)
    {
        var command = new System.CommandLine.Command("fail", "Throws");
        command.SetAction(int (_) => throw exception);
        return command;
    }

    private string Plan(string yaml)
    {
        var path = Path.Combine(_folder, "plan.yaml");
        File.WriteAllText(path, yaml);
        return path;
    }

    private static async Task<(int Code, string Output, string Error)> RunAsync(params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await Cli.RunAsync(args, Program.Commands, output, error);
        return (code, output.ToString(), error.ToString());
    }
}
