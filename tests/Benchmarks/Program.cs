using FedRLora.Benchmarks;
using FedRLora.Benchmarks.Devices;
using FedRLora.Benchmarks.Scopes;
using FedRLora.Benchmarks.Training;
using FedRLora.Benchmarks.Wall;

switch (args.FirstOrDefault())
{
    case "loading":
        await Loading.RunAsync(args[1..]);
        break;
    case "tokenizers":
        TokenizerBenchmark.Run();
        break;
    case "rounds":
        await RoundBenchmark.RunAsync(args[1..]);
        break;
    case "tls":
        await TlsBenchmark.RunAsync(args[1..]);
        break;
    case "population":
        await PopulationBenchmark.RunAsync(args[1..]);
        break;
    case "byzantine":
        await ByzantineTable.RunAsync(args[1..]);
        break;
    case "defaults":
        await Defaults.RunAsync(args[1..]);
        break;
    case "scopes":
        await ScopesTable.RunAsync(args[1..]);
        break;
    case "quantized":
        QuantizedBenchmark.Run(args[1..]);
        break;
    case "bases":
        await BasesBenchmark.RunAsync(args[1..]);
        break;
    case "telemetry":
        await TelemetryBenchmark.RunAsync(args[1..]);
        break;
    case "wall":
        await WallBenchmark.RunAsync(args[1..]);
        break;
    case "training":
        await TrainingBenchmark.RunAsync(args[1..]);
        break;
    case "device":
        await DeviceCheck.RunAsync(args[1..]);
        break;
    case "first-calls":
        await FirstCallsBenchmark.RunAsync(args[1..]);
        break;
    default:
        Console.WriteLine("dotnet run --project tests/Benchmarks -c Release -- loading | tokenizers | rounds | tls | population | "
            + "training | telemetry | wall | bases | quantized | "
            + "byzantine | defaults | scopes | first-calls | device");
        break;
}
