using System.Diagnostics;
using System.Text;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Plans that are made to keep the reader busy, and large ones that are right.</summary>
public sealed class HostilePlanTests : IDisposable
{
    private const string Head = "name: demo\nmodel: m\n";

    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task Reading_stops_at_a_hundred_problems()
    {
        var result = await ValidateAsync(Head + string.Concat(Enumerable.Range(0, 300).Select(static key => $"key{key}: 1\n")));

        Assert.Equal((2, 101), (result.Code, result.ErrorLines.Count));
        Assert.EndsWith(": at least 100 problems; the first are shown.", result.ErrorLines[^1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ninety_nine_problems_are_all_shown()
    {
        var result = await ValidateAsync(Head + "clients: [{id: a, task: t, data: {train: d}}]\n"
            + string.Concat(Enumerable.Range(0, 99).Select(static key => $"key{key}: 1\n")));

        Assert.Equal((2, 99), (result.Code, result.ErrorLines.Count));
        Assert.DoesNotContain("at least", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nesting_beyond_the_schema_is_one_problem()
    {
        var result = await ValidateAsync(Head + "clients: " + new string('[', 20) + new string(']', 20) + "\n");

        Assert.Equal(2, result.Code);
        Assert.Contains("nested deeper than 8 levels", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task More_than_three_million_values_are_one_problem()
    {
        var result = await ValidateAsync(Head + "clients: [" + string.Join(',', Enumerable.Repeat("1", 3_100_000)) + "]\n");

        Assert.Equal(2, result.Code);
        Assert.Contains("more than 3000000 values, lists and mappings", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_of_more_than_64_mebibytes_is_not_parsed()
    {
        var path = Path.Combine(_tiny.Root, "plan.yaml");
        await using (var file = File.Create(path)) file.SetLength((64L << 20) + 1);
        var began = Stopwatch.GetTimestamp();

        var result = await CommandLine.RunAsync("validate", path);

        Assert.Equal((2, $"{path}: 67108865 bytes are too many for a plan; the bound is 67108864.\n"), (result.Code, result.Error));
        Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.Zero, TimeSpan.FromSeconds(30));
    }

    [Theory]
    [InlineData("seed: 1\n\0\nstrategy: {rounds: 7}\n", "4:1: the character U+0000")]
    [InlineData("seed: 1 # \u001b[2J\n", "3:11: the character U+001B")]
    public async Task A_control_character_is_named_and_not_passed_over(string rest, string expected)
    {
        var result = await ValidateAsync(Head + rest + "clients: [{id: a, task: t, data: {train: d}}]\n");

        Assert.Equal(2, result.Code);
        Assert.EndsWith($":{expected} is none of a text file; remove it.", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_key_of_a_mebibyte_and_of_two_lines_is_shown_in_part_and_in_one()
    {
        var result = await ValidateAsync(
            Head + "clients: [{id: a, task: t, data: {train: d}}]\n? \"one\\ntwo" + new string('k', 1 << 20) + "\"\n: 1\n");

        Assert.Equal(2, result.Code);
        Assert.InRange(Assert.Single(result.ErrorLines).Length, 1, 800);
    }

    [Fact]
    public async Task Merge_keys_that_multiply_are_read_in_moments()
    {
        var began = Stopwatch.GetTimestamp();
        var maps = Enumerable.Range(1, 12)
            .Select(static i => $"  - &a{i} {{<<: [{string.Join(", ", Enumerable.Repeat($"*a{i - 1}", 10))}], id: a{i}}}\n");

        var result = await ValidateAsync(Head + "clients:\n  - &a0 {id: a, task: t, data: {train: d}}\n" + string.Concat(maps));

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.Zero, TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task A_federation_of_a_hundred_thousand_clients_is_valid()
    {
        var plan = new StringBuilder(Head).Append("clients:\n");
        for (var client = 0; client < 100_000; client++)
            plan.Append($"  - {{id: c{client}, task: t, site: s{client % 10}, steps: 3, "
                + $"data: {{train: train.jsonl, test: test.jsonl, offset: {client}, rows: 1}}}}\n");

        var result = await ValidateAsync(plan.ToString());

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Contains("100000 clients", result.Output, StringComparison.Ordinal);
    }

    private async Task<CommandResult> ValidateAsync(string yaml)
    {
        var path = Path.Combine(_tiny.Root, "plan.yaml");
        await File.WriteAllTextAsync(path, yaml);
        return await CommandLine.RunAsync("validate", path);
    }
}
