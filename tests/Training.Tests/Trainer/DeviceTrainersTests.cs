using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Devices;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>Several devices of one silo; parts of a processor stand for GPUs.</summary>
public sealed class DeviceTrainersTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task Groups_go_to_both_devices_with_the_bits_of_one_and_each_loads_its_base_once()
    {
        var plan = _tiny.Plan();
        using var one = _tiny.Trainer();
        using var both = Both();
        TrainingGroup[] groups =
        [
            await TinyFederation.GroupAsync(one, plan, "one"), await TinyFederation.GroupAsync(one, plan, "two"),
        ];

        for (var round = 1; round <= 2; round++)
        {
            var expected = await Task.WhenAll(groups.Select(group => one.TrainAsync(group)));
            var trained = await Task.WhenAll(groups.Select(group => both.TrainAsync(group)));
            foreach (var (alone, there) in expected.Zip(trained)) LocalTrainerTests.AssertSame(alone[0], there[0]);
            Assert.Equal(
                (await Task.WhenAll(groups.Select(group => one.EvaluateAsync(group)))).Select(static scored => scored[0].Loss),
                (await Task.WhenAll(groups.Select(group => both.EvaluateAsync(group)))).Select(static scored => scored[0].Loss));
        }

        Assert.Equal([1, 1], both.Trainers.Select(static trainer => trainer.Loads));
        Assert.Equal([2, 2], both.Trainers.Select(static trainer => trainer.Scorings)); // its client's start, and the base on its rows
        Assert.Equal(await one.FingerprintAsync(plan), await both.FingerprintAsync(plan));
        Assert.Equal("cpu:0, cpu:1", both.Device!.Name);
    }

    [Fact]
    public async Task A_device_that_has_more_to_do_than_another_gives_work_away()
    {
        var plan = _tiny.Plan();
        using var one = _tiny.Trainer();
        using var both = Both();
        var group = await TinyFederation.GroupAsync(one, plan, "one"); // at home on the first

        var trained = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => both.TrainAsync(group)));

        Assert.Equal([1, 1], both.Trainers.Select(static trainer => trainer.Loads));
        Assert.All(trained, result => LocalTrainerTests.AssertSame(trained[0][0], result[0]));
    }

    [Theory]
    [InlineData("cpu", "cpu")]
    [InlineData("cpu:0", "cpu:0")]
    [InlineData("cpu:0, cpu:1", "cpu:0 cpu:1")]
    [InlineData("cuda:0", "cuda:0")]
    [InlineData("cuda:10,cuda:2", "cuda:10 cuda:2")]
    public void Devices_are_read(string text, string expected) =>
        Assert.Equal(expected.Split(' '), DeviceNames.Parse("--device", text));

    [Theory]
    [InlineData("", "\"\" is no device")]
    [InlineData("gpu", "\"gpu\" is no device; expected cpu, parts of it, as cpu:0,cpu:1, or GPUs, as cuda:0,cuda:1")]
    [InlineData("cuda", "\"cuda\" is no device")]
    [InlineData("cuda:", "\"cuda:\" is no device")]
    [InlineData("cuda:00", "\"cuda:00\" is no device")]
    [InlineData("cuda:100", "\"cuda:100\" is no device")]
    [InlineData("cuda:0,cuda:0", "cuda:0 stands twice")]
    [InlineData("cpu:", "\"cpu:\" is no device")]
    [InlineData("cpu:-1", "\"cpu:-1\" is no device")]
    [InlineData("cpu:01", "\"cpu:01\" is no device")]
    [InlineData("CPU", "\"CPU\" is no device")]
    [InlineData("cpu:0,", "\"\" is no device")]
    [InlineData("cpu:0,cpu:0", "cpu:0 stands twice")]
    [InlineData("cpu,cpu:1", "cpu is the whole processor")]
    [InlineData("cpu:0,cuda:0", "the processor and a GPU compute other bits")]
    public void What_is_no_list_of_devices_is_refused(string text, string why)
    {
        var refusal = Assert.Throws<BadInputException>(() => DeviceNames.Parse("--device", text)).Message;
        Assert.StartsWith("--device: ", refusal, StringComparison.Ordinal);
        Assert.Contains(why, refusal, StringComparison.Ordinal);
    }

    private DeviceTrainers Both() => new(new LocalTrainerOptions { Root = _tiny.Root }, ["cpu:0", "cpu:1"]);
}
