using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Plans.Reading;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

public sealed class SetTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData("training.steps=ten", "training.steps=ten: training.steps: ")]
    [InlineData("training.stepz=4", "training.stepz=4: training.stepz: unknown key")]
    [InlineData("clients[1].task=null", "clients[1].task=null: clients[1].task: ")]
    [InlineData("adapter.rank=4 # four", "'adapter.rank=4 # four': the value is no YAML of one line")]
    [InlineData("adapter.rank=", "'adapter.rank=' sets nothing")]
    [InlineData("training=1=2", "training=1=2: training: ")]
    [InlineData("clients[7].task=a", "clients[7].task=a: cannot be set: ")]
    public async Task A_value_that_is_wrong_is_named_by_option_and_key_and_not_by_a_line_that_nobody_wrote(string value, string said)
    {
        var plan = _tiny.WritePlan();

        foreach (var command in new[] { "validate", "simulate" })
        {
            var refused = await CommandLine.RunAsync(command, plan, "--set", value);

            Assert.Equal(2, refused.Code);
            Assert.StartsWith($"--set {said}", Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task What_is_wrong_with_the_file_itself_keeps_its_line_in_the_file()
    {
        var plan = _tiny.WritePlan(strategy: "rounds: 0");

        var refused = await CommandLine.RunAsync("validate", plan, "--set", "training.weightDecay=0.1", "--set", "seed=x");

        Assert.Equal(2, refused.ErrorLines.Count);
        Assert.Contains(refused.ErrorLines, line => line.StartsWith($"{plan}:6:", StringComparison.Ordinal));
        Assert.Contains(refused.ErrorLines, static line => line.StartsWith("--set seed=x: seed: ", StringComparison.Ordinal));
    }

    [Fact]
    public void A_problem_that_values_make_together_names_those_without_which_it_is_gone()
    {
        const string Yaml = "name: a\nmodel: m\ntraining: {warmupSteps: 4}\nclients: [{id: x, task: t, data: {train: x.jsonl}}]\n";

        var refused = Assert.Throws<PlanException>(() => PlanChanges
            .Of(Yaml, "plan", "set", ["strategy.rounds=1", "seed=4", "training.steps=1"]).Require());

        Assert.StartsWith("set strategy.rounds=1 set training.steps=1: training.warmupSteps: ", $"{Assert.Single(refused.Problems)}",
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_key_is_given_once()
    {
        var refused = Assert.Throws<BadInputException>(() => PlanChanges.Of("seed: 1\n", "plan", "--set", ["seed=1", "seed=2"]));

        Assert.Equal("--set seed=1 and --set seed=2 both set seed; give it once.", refused.Message);
    }

    [Fact]
    public void A_wider_key_does_not_undo_one_inside_it()
    {
        var refused = Assert.Throws<BadInputException>(() => PlanChanges.Of(
            "seed: 1\n", "plan", "--set", ["training.steps=3", "training={steps: 2}"]));

        Assert.Equal("--set training={steps: 2} undoes --set training.steps=3; give the wider key first.", refused.Message);
    }

    [Fact]
    public async Task Validate_says_what_the_changed_plan_is_and_a_program_hears_what_set_it()
    {
        var plan = _tiny.WritePlan();

        var valid = await CommandLine.RunAsync("validate", plan, "--set", "adapter.method=lora", "--set", "strategy.rounds=5");
        var refused = await CommandLine.RunAsync("validate", plan, "--json", "--set", "training.steps=ten");

        Assert.Equal((0, ""), (valid.Code, valid.Error));
        Assert.Contains("with adapter.method=lora, strategy.rounds=5: valid. lora on model", valid.Output, StringComparison.Ordinal);
        Assert.Contains("5 rounds", valid.Output, StringComparison.Ordinal);
        var problem = JsonDocument.Parse(refused.Output).RootElement.GetProperty("problems").EnumerateArray().Single();
        Assert.Equal("--set training.steps=ten", problem.GetProperty("setBy").GetString());
        Assert.Equal(JsonValueKind.Null, problem.GetProperty("line").ValueKind);
    }

    [Fact]
    public async Task A_run_keeps_the_changed_plan_and_a_seed_is_given_one_way()
    {
        var plan = _tiny.WritePlan(strategy: "rounds: 1");
        var folder = Path.Combine(_tiny.Root, "run");

        var both = await CommandLine.RunAsync("simulate", plan, "--out", folder, "--seed", "3", "--set", "seed=4");
        Assert.False(Directory.Exists(folder));
        var run = await CommandLine.RunAsync(
            "simulate", plan, "--out", folder, "--set", "seed=4", "--set", "training={steps: 1, threads: 1}");

        Assert.Equal((2, "--seed and --set seed=... both give the seed; give one of them.\n"), (both.Code, both.Error));
        Assert.Equal((0, ""), (run.Code, run.Error));
        var stored = await File.ReadAllTextAsync(Path.Combine(folder, "plan.yaml"));
        Assert.Equal((4ul, 1), (PlanReader.Require(stored, "plan").Seed, PlanReader.Require(stored, "plan").Training.Steps));
    }

    [Fact]
    public void Plans_that_say_the_same_have_the_same_keys_however_they_are_laid_out() =>
        Assert.Equal(
            PlanKeys.Of("adapter: lora\ntraining: &t {steps: 2}\nclients: [{id: a, task: x}]\nseed:\n"),
            PlanKeys.Of("clients:\n  - task: x\n    id: a\nadapter: {method: 'lora'}\nseed: null\ntraining: {<<: {steps: 2}}\n"));
}
