using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Sending;

namespace FedRLora.Federation.Tests.Plans;

/// <summary>What administrators of sites let leave them.</summary>
public sealed class SendingLimitsTests
{
    private static AdapterSpec Method(string name) => AdapterCatalog.Methods[name].Spec;

    private static AdapterSpec TaskHeads { get; } = Method("fedsa-lora").With("B", static heads => heads with { Scope = Scope.Task });

    private static string? Refusal(string word, AdapterSpec adapter) =>
        SendingLimits.Parse([word]).Refuses("north", SentTensor.Of(adapter));

    [Theory]
    [InlineData("job", "fedsa-lora", true)]
    [InlineData("job", "lora", true)] // its B is of scope job
    [InlineData("job", "dora", true)]
    [InlineData("nothing-but A", "fedsa-lora", true)]
    [InlineData("nothing-but A", "lora", false)]
    [InlineData("nothing-but B", "ffa-lora", true)] // its A is redrawn at every site
    [InlineData("nothing-but A,B", "dora", false)]
    [InlineData("nothing-but A, B magnitude", "dora", true)]
    [InlineData("nothing", "fedsa-lora", false)]
    public void A_word_lets_a_method_pass_or_not(string word, string method, bool passes) =>
        Assert.Equal(passes, Refusal(word, Method(method)) is null);

    [Theory]
    [InlineData("job", false)]
    [InlineData("task", true)]
    [InlineData("nothing-but A", false)]
    [InlineData("nothing-but A,B", true)]
    public void Heads_by_task_leave_where_the_word_says_so(string word, bool passes) =>
        Assert.Equal(passes, Refusal(word, TaskHeads) is null);

    [Theory]
    [InlineData("job")]
    [InlineData("nothing")]
    [InlineData("nothing-but magnitude")]
    public void A_plan_that_shares_nothing_passes_every_word(string word) => Assert.Null(Refusal(word, Method("lora").Unshared()));

    [Fact]
    public void A_refusal_names_site_tensors_scopes_the_word_and_the_ways_out() => Assert.Equal(
        "Site north refuses the plan, which would send updates of B (scope task): its administrator lets tensors of scope job alone leave "
        + "the site (--may-send job). Give the plan adapter.tensors.B.scope: client, or give a wider word: --may-send task.",
        Refusal("job", TaskHeads));

    [Fact]
    public void A_run_that_is_begun_keeps_its_plan_so_the_word_is_what_helps() => Assert.EndsWith(
        "(--may-send job). Give a wider word: --may-send task, and resume the run; or begin another with "
        + "adapter.tensors.B.scope: client.",
        SendingLimits.Parse(["job"]).Refuses("north", SentTensor.Of(TaskHeads), isBegun: true), StringComparison.Ordinal);

    [Theory]
    [InlineData("job", "fedsa-lora-task-heads", "task")]
    [InlineData("nothing", "fedsa-lora", "job")]
    [InlineData("nothing-but A", "fedsa-lora-task-heads", "nothing-but A,B")]
    [InlineData("nothing-but magnitude", "lora", "nothing-but A,B,magnitude")]
    public void A_refusal_names_the_word_that_would_let_the_plan_pass(string word, string method, string wider)
    {
        Assert.EndsWith($"or give a wider word: --may-send {wider}.", Refusal(word, Method(method)), StringComparison.Ordinal);
        Assert.Null(Refusal(wider, Method(method)));
    }

    [Fact]
    public void Where_nothing_of_a_method_may_leave_the_way_out_is_to_share_nothing() => Assert.Equal(
        "Site north refuses the plan, which would send updates of A (scope job) and B (scope job): its administrator lets no tensor leave "
        + "the site (--may-send nothing). Give the plan sharing: none, or give a wider word: --may-send job.",
        Refusal("nothing", Method("lora")));

    [Fact]
    public void A_site_with_a_word_of_its_own_is_held_to_that_one_alone()
    {
        var limits = SendingLimits.Parse(["nothing", "north=job"]);

        Assert.Null(limits.Refuses("north", SentTensor.Of(Method("lora"))));
        Assert.NotNull(limits.Refuses("south", SentTensor.Of(Method("lora"))));
    }

    [Fact]
    public void Names_of_repeated_words_add_up() =>
        Assert.Null(SendingLimits.Parse(["nothing-but A", "nothing-but B", "nothing-but A"]).Refuses("x", SentTensor.Of(Method("lora"))));

    [Theory]
    [InlineData("job", true)]
    [InlineData("task", true)]
    [InlineData("nothing-but A,statistics", true)]
    [InlineData("nothing-but A", false)]
    [InlineData("nothing", false)]
    public void Statistics_leave_as_a_tensor_of_scope_job_does(string word, bool passes) =>
        Assert.Equal(passes, Refusal(word, Aligned) is null);

    [Fact]
    public void A_refusal_of_statistics_names_them_and_the_ways_out() => Assert.Equal(
        "Site north refuses the plan, which would send updates of statistics (scope job): its administrator lets no tensor but A leave "
        + "the site (--may-send nothing-but A). Give the plan adapter.objectives without those that need statistics, or give a wider "
        + "word: --may-send nothing-but A,statistics.",
        Refusal("nothing-but A", Aligned));

    [Fact]
    public void Statistics_in_an_update_of_a_method_without_any_are_of_no_scope_that_anybody_allows()
    {
        string[] names = ["statistics/alignment/layers.0.q_proj", "statistics/alignment/layers.1.q_proj"];

        Assert.Equal(("statistics", "unknown"), Of(Method("fedsa-lora")));
        Assert.Equal(("statistics", "unknown"), Of(Aligned.Unshared()));
        Assert.Equal(("statistics", "job"), Of(Aligned));

        (string, string) Of(AdapterSpec adapter) => SentTensor.Of(names, adapter).Select(static sent => (sent.Name, sent.Scope)).Single();
    }

    private static AdapterSpec Aligned { get; } = Method("fedsa-lora") with { Objectives = [new Objective.Alignment()] };

    [Fact]
    public void A_scope_that_is_not_known_is_let_out_by_no_scope()
    {
        SentTensor[] sent = [new() { Name = "A", Scope = "galaxy" }];

        Assert.NotNull(SendingLimits.Parse(["task"]).Refuses("north", sent));
        Assert.Null(SendingLimits.Parse(["nothing-but A"]).Refuses("north", sent));
    }

    [Theory]
    [InlineData("jobs", "did you mean job?")]
    [InlineData("", "give job, task, nothing-but NAMES or nothing")]
    [InlineData("client", "give job, task, nothing-but NAMES or nothing")]
    [InlineData("JOB", "did you mean job?")]
    [InlineData("nothing-but", "needs names of tensors; there are A, B, router, magnitude")]
    [InlineData("nothing-but A,magnitud", "there is no tensor 'magnitud' (did you mean magnitude?); there are A, B, router, magnitude")]
    [InlineData("nothing-but a", "there is no tensor 'a' (did you mean A?)")]
    [InlineData("job A", "names of tensors go with nothing-but")]
    [InlineData("no/site=job", "is not a name")]
    [InlineData("north=", "give job, task, nothing-but NAMES or nothing")]
    public void Another_word_is_refused_with_those_that_there_are(string word, string expected) =>
        Assert.Contains(expected, Assert.Throws<BadInputException>(() => SendingLimits.Parse([word])).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("job", "task", "job and task are both given for all sites")]
    [InlineData("nothing", "nothing-but A", "nothing and nothing-but A are both given for all sites")]
    [InlineData("north=job", "north=nothing-but A", "job and nothing-but A are both given for site north")]
    public void Two_words_for_one_site_are_refused(string first, string second, string expected) => Assert.Contains(
        expected, Assert.Throws<BadInputException>(() => SendingLimits.Parse([first, second])).Message, StringComparison.Ordinal);

    [Fact]
    public void What_an_update_holds_is_told_by_the_ends_of_its_names()
    {
        var sent = SentTensor.Of(["layers.0.q_proj.A", "layers.1.q_proj.A", "layers.0.q_proj.B", "odd"], Method("fedsa-lora"));

        Assert.Equal([("A", "job"), ("B", "client"), ("odd", "unknown")], sent.Select(static tensor => (tensor.Name, tensor.Scope)));
    }
}
