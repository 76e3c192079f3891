using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Tests.Plans;

/// <summary>Policies of tensors in a plan: below <c>tensors</c>, and in short keys.</summary>
public sealed class AdapterTensorsTests
{
    private const string Minimal = """
        name: demo
        model: models/tiny
        clients:
          - {id: a, task: sst2, data: {train: sst2.jsonl}}
        """;

    private static readonly JsonSerializerOptions CamelCase = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase, Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    public static TheoryData<string> Methods => [.. AdapterCatalog.Methods.Keys];

    public static TheoryData<string> Roles => [.. AdapterParts.Chosen.Select(static role => role.Name)];

    [Theory]
    [MemberData(nameof(Methods))]
    public void A_method_written_out_value_by_value_is_read_as_that_method_whichever_one_the_plan_starts_from(string method)
    {
        var spec = AdapterCatalog.Methods[method].Spec;
        foreach (var from in AdapterCatalog.Methods.Keys)
        {
            foreach (var isShort in (bool[])[false, true])
            {
                var read = PlanReader.Require($"{Minimal}\nadapter: {Written(spec with { Method = from }, isShort)}", "p").Adapter;

                Assert.Equal(PlanText.Of(spec with { Method = from }), PlanText.Of(read));
                if (from == method)
                    Assert.Equal(spec.Tensors, read.Tensors);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Roles))]
    public void Every_key_of_every_tensor_is_read_below_tensors_and_as_a_short_key(string role)
    {
        foreach (var (key, value, changed) in Changes(role))
        {
            // Clients that aggregate a tensor start from one value.
            var common = key == "scope" && role is "B" or "taskA" or "taskWeights" && key == "scope"
                ? $"seed{AdapterParts.Role(role).KeyEnd}: common, " : "";
            var adapter = $"{common}{With(role)}";
            var before = Read(adapter);

            var below = Read($"{adapter}, tensors: {{{role}: {{{key}: {value}}}}}");
            var above = Read($"{adapter}, {key}{AdapterParts.Role(role).KeyEnd}: {value}");

            Assert.Equal(changed(before.Tensor(role)), below.Tensor(role));
            Assert.Equal(below.Tensors, above.Tensors);
            Assert.NotEqual(before.Tensor(role), below.Tensor(role));
            foreach (var other in before.Roles.Where(other => other.Name != role))
                Assert.Equal(before.Tensor(other.Name), below.Tensor(other.Name));
        }
    }

    [Theory]
    [InlineData("tensors: {a: {trains: false}}", "11: adapter.tensors.a: unknown key; did you mean A?")]
    [InlineData("tensors: {Router: {trains: false}}", "11: adapter.tensors.Router: unknown key; did you mean router?")]
    [InlineData("tensors: {routr: {trains: false}}", "11: adapter.tensors.routr: unknown key; did you mean router?")]
    [InlineData(
        "tensors: {router: {scope: job}}",
        "19: adapter.tensors.router: the method has no router as it stands; remove it, or give routing: softmax.")]
    [InlineData(
        "tensors: {magnitude: {scope: job}}",
        "22: adapter.tensors.magnitude: the method has no magnitude as it stands; remove it, or give decomposed: true.")]
    [InlineData("tensors: [A]", "10: adapter.tensors: a list is not a section; give keys with values below it.")]
    [InlineData("tensors: A", "10: adapter.tensors: \"A\" is not a section; give keys with values below it.")]
    [InlineData("tensors: {A: job}", "14: adapter.tensors.A: \"job\" is not a section; give keys with values below it.")]
    [InlineData("tensors: {A: [job]}", "14: adapter.tensors.A: a list is not a section; give keys with values below it.")]
    [InlineData("tensors: {A: {scop: job}}", "15: adapter.tensors.A.scop: unknown key; did you mean scope?")]
    [InlineData("tensors: {A: {scopeA: job}}", "15: adapter.tensors.A.scopeA: unknown key; did you mean scope?")]
    [InlineData("tensors: {A: {inits: zero}}", "15: adapter.tensors.A.inits: unknown key; did you mean init?")]
    [InlineData("tensors: {A: {width: 3}}", "15: adapter.tensors.A.width: unknown key; known here: init, seed, trains, scope.")]
    [InlineData("tensors: {A: {scope: server}}",
        "22: adapter.tensors.A.scope: \"server\" is not known; give one of seed, job, task, client.")]
    [InlineData("tensors: {A: {scope: [job]}}", "22: adapter.tensors.A.scope: a list stands here; give one of seed, job, task, client.")]
    [InlineData("tensors: {A: {scope: }}", "22: adapter.tensors.A.scope: an empty value stands here; give one of seed, job, task, client.")]
    [InlineData("tensors: {A: {trains: yes}}", "23: adapter.tensors.A.trains: \"yes\" is not a flag; give true or false.")]
    [InlineData(
        "tensors: {A: {seed: perTsk}}",
        "21: adapter.tensors.A.seed: \"perTsk\" is not known; did you mean perTask? Give one of common, perClient, perTask.")]
    [InlineData(
        "tensors: {A: {init: lsvd}}",
        "21: adapter.tensors.A.init: \"lsvd\" is not known; did you mean svd? Give one of zero, kaimingUniform, identity, "
            + "sharedKaimingUniform, pissa, olora, svd, subspace, gaussian: 0.02, stable: 64, constant: 1.")]
    [InlineData("tensors: {A: {init: stable}}", "21: adapter.tensors.A.init: stable needs a value; give stable: 64.")]
    [InlineData(
        "tensors: {A: {init: {stable: 0}}}",
        "30: adapter.tensors.A.init.stable: 0 is out of range; give a number above 0 and at most 1000000.")]
    [InlineData(
        "tensors: {A: {init: {law: gaussian}}}",
        "21: adapter.tensors.A.init.value: missing; give a standard deviation, such as 0.02.")]
    [InlineData(
        "decomposed: true, tensors: {magnitude: {init: zero}}",
        "41: adapter.tensors.magnitude.init: unknown key; known here: seed, trains, scope.")]
    [InlineData("scopeB: client, tensors: {B: {scope: client}}", "9: adapter.scopeB: stands below tensors.B too; remove one of the two.")]
    [InlineData("trainsA: true, tensors: {A: {trains: true}}", "10: adapter.trainsA: stands below tensors.A too; remove one of the two.")]
    [InlineData("tensor: {A: {scope: job}}", "1: adapter.tensor: unknown key; did you mean tensors?")]
    [InlineData("tensors: {A: {scope: job}, A: {scope: job}}", "28: adapter.tensors.A: given twice; the first is on line 5. Remove one.")]
    [InlineData(
        "tensors: {A: {trains: false, scope: seed}, B: {trains: false, scope: seed}}",
        "56: adapter.tensors.B.trains: neither A nor B trains; set trainsA or trainsB to true.")]
    [InlineData(
        "tensors: {B: {scope: seed}}",
        "22: adapter.tensors.B.scope: scope seed redraws B and would lose its training; set trainsB: false, or scopeB: job, "
            + "task or client.")]
    [InlineData(
        "from: given, tensors: {A: {init: {stable: 64}}}",
        "34: adapter.tensors.A.init: comes from the adapter that from names; remove it.")]
    [InlineData(
        "from: given, tensors: {B: {seed: common}}",
        "34: adapter.tensors.B.seed: comes from the adapter that from names; remove it.")]
    [InlineData(
        "from: given, tensors: {magnitude: {seed: common}}",
        "42: adapter.tensors.magnitude.seed: comes from the adapter that from names; remove it.")]
    [InlineData(
        "from: given, tensors: {router: {scope: job}}",
        "32: adapter.tensors.router: the method has no router as it stands; remove it, or give routing: softmax.")]
    [InlineData("scopeC: job", "1: adapter.scopeC: unknown key; did you mean scopeA?")]
    public void A_wrong_policy_is_one_problem_with_its_place(string values, string expected)
    {
        var problem = Assert.Single(PlanReader.Read($"{Minimal}\nadapter: {{method: lora, {values}}}\n", "demo.yaml").Problems);

        Assert.Equal(5, problem.Line);
        Assert.Equal(expected, $"{problem.Column - "adapter: {method: lora, ".Length}: {problem.Message}");
    }

    // A method that has the tensor.
    private static string With(string role) => role switch
    {
        Decomposition.Magnitude => "method: r-lora, routing: mean, decomposed: true, heads: 2",
        Core.Role => "method: r-lora, core: full, heads: 2",
        HeadScale.Role => "method: fedsa-lora, headScale: perOutput, initB: kaimingUniform",
        Routing.TaskSoftmax.Weights => "method: fedsa-lora, routing: taskSoftmax, heads: 2",
        Routing.TopK.Gate => "method: fedsa-lora, routing: topK, heads: 2",
        Routing.RankTopK.Router or Routing.RankTopK.Balance => "method: fedsa-lora, routing: {rankTopK: 2}",
        Routing.Pool.RouterA or Routing.Pool.RouterB or Routing.Pool.RouterQ =>
            "method: fedsa-lora, routing: {pool: {k: 2}}",
        TaskBranch.A or TaskBranch.B => "method: fedsa-lora, taskBranch: 2",
        _ => "method: r-lora, routing: softmax, heads: 2",
    };

    // Those that leave the plan one that can be trained.
    private static IEnumerable<(string Key, string Value, Func<TensorPolicy, TensorPolicy> Changed)> Changes(string role)
    {
        var known = AdapterParts.Role(role);
        if (known.IsDrawn && role is not (HeadScale.Role or TaskBranch.B))
            yield return ("init", "{gaussian: 0.5}", static policy => policy with { Init = Init.Gaussian(0.5) });
        var other = known.Default.Seed == SeedPolicy.PerTask ? SeedPolicy.PerClient : SeedPolicy.PerTask;
        if (known.IsDrawn && role != "A")
            yield return ("seed", other.ToString(), policy => policy with { Seed = other });
        if (known.IsCounted) // it stays with its client, and no gradient moves it
            yield break;
        yield return ("scope", role == "A" ? "client" : "job", policy => policy with { Scope = role == "A" ? Scope.Client : Scope.Job });
        if (role is not ("A" or HeadScale.Role)) // what is aggregated, or zero, trains
            yield return ("trains", "false", static policy => policy with { Trains = false });
    }

    private static AdapterSpec Read(string adapter) => PlanReader.Require($"{Minimal}\nadapter: {{{adapter}}}", "p").Adapter;

    // JSON is YAML's flow style; what a plan spells otherwise is brought to its form.
    private static string Written(AdapterSpec spec, bool isShort)
    {
        var values = JsonSerializer.SerializeToNode(spec, CamelCase)!.AsObject();
        var computedOnly = typeof(AdapterSpec).GetProperties().Where(static property => !property.CanWrite && property.Name != "Tensors");
        foreach (var computed in computedOnly)
            values.Remove(JsonNamingPolicy.CamelCase.ConvertName(computed.Name));
        foreach (var (key, _) in values.Where(static entry => entry.Value is null
            || (entry.Value is JsonArray { Count: 0 } && entry.Key is not ("objectives" or "lifecycle" or "subspaceFrom"))).ToList())
            values.Remove(key);
        var tensors = values["tensors"]!.AsObject();
        foreach (var (role, policy) in tensors)
        {
            if (!AdapterParts.Role(role).IsDrawn)
                policy!.AsObject().Remove("init");
            else if (!new Init(Enum.Parse<InitLaw>(policy!["init"]!["law"]!.GetValue<string>(), ignoreCase: true)).HasValue)
                policy["init"]!.AsObject().Remove("value");
        }

        if (!isShort)
            return values.ToJsonString();
        values.Remove("tensors");
        foreach (var (role, policy) in tensors)
        {
            foreach (var (key, value) in policy!.AsObject())
                values[key + AdapterParts.Role(role).KeyEnd] = value!.DeepClone();
        }

        return values.ToJsonString();
    }
}
