using FedRLora.Generator.Federations;
using FedRLora.Generator.Measures;
using FedRLora.Generator.Model;
using FedRLora.Generator.Tasks;
using FedRLora.Generator.Text;

const string Usage = """
    usage: generator all                       samples/tasks and samples/model, from the repository root
           generator tasks --out FOLDER        task files and tasks.json
           generator baselines FOLDER          what trivial methods reach on them
           generator tokenizer --out FOLDER    tokenizer.json
           generator model --out FOLDER        pre-training; FOLDER holds the tokenizer
           generator real DATA --out FOLDER    clients' rows from public tasks, which lie in DATA
    """;

switch (args)
{
    case ["all"]:
        TaskFiles.Write("samples/tasks");
        Baselines.Print("samples/tasks", Console.Out);
        WriteTokenizer("samples/model");
        Pretraining.Run("samples/model", Console.Out);
        return 0;
    case ["tasks", "--out", var folder]:
        TaskFiles.Write(folder);
        return 0;
    case ["baselines", var folder]:
        Baselines.Print(folder, Console.Out);
        return 0;
    case ["tokenizer", "--out", var folder]:
        WriteTokenizer(folder);
        return 0;
    case ["model", "--out", var folder]:
        Pretraining.Run(folder, Console.Out);
        return 0;
    case ["real", var data, "--out", var folder]:
        PublicFederation.WriteAll(data, folder);
        return 0;
    default:
        await Console.Error.WriteLineAsync(Usage);
        return 2;
}

static void WriteTokenizer(string folder)
{
    var corpus = new Corpus("tokenizer");
    Directory.CreateDirectory(folder);
    var stories = Enumerable.Range(0, 20_000).Select(_ => corpus.Next()).Select(story => story.Text);
    BpeTrainer.Write(folder, BpeTrainer.Train(stories, maxMerges: 1000), BaseModel.ContextLength);
}
